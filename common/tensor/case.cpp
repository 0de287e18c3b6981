#include "common/tensor/case.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "common/tensor/nearest.hpp"

namespace attn {

using Json = nlohmann::json;

struct Params::Values {
    Json json = Json::object();
};

namespace {

constexpr std::uint64_t largest_json = 1 << 20;
constexpr int deepest_nesting = 32;
const std::vector<std::string> tolerance_types = {"float64", "float32", "float16", "bfloat16"};

/// `value` as text for a message: one line, shortened when long.
std::string text_of(const Json& value) {
    const std::string text = value.dump(-1, ' ', true);
    const std::string shortened = in_quotes(text);
    const bool fits = shortened.size() == text.size() + 2;
    return fits ? text : shortened;  // a short value reads better bare
}

std::string joined(const std::vector<std::string>& words) {
    std::string result;
    for (const std::string& word : words) result += (result.empty() ? "" : ", ") + word;
    return result;
}

/// " (did you mean "causal"?)", or nothing.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
    const std::string found = nearest(word, candidates);
    return found.empty() ? "" : " (did you mean \"" + found + "\"?)";
}

/// Parses a JSON object, refusing what the JSON library lets pass: duplicate keys (it keeps the last), nesting without
/// end, and text after a NUL byte, which it takes for the end.
Json parse_object(std::string_view text, std::string_view file) {
    if (text.size() > largest_json) {
        throw BadCase(file, std::to_string(text.size()) + " bytes", "at most " + std::to_string(largest_json));
    }
    if (const std::size_t position = text.find('\0'); position != std::string_view::npos) {
        throw BadCase(file, "a NUL at byte " + std::to_string(position), "JSON text");
    }
    std::vector<std::set<std::string>> keys;  // of each object that is still open
    const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
        if (depth > deepest_nesting) {
            throw BadCase(file, "JSON nested more than " + std::to_string(deepest_nesting) + " deep", "less");
        }
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end) keys.pop_back();
        if (event == Json::parse_event_t::key) {
            const auto& key = parsed.get_ref<const std::string&>();
            if (!keys.back().insert(key).second) throw BadCase(file, "the key " + in_quotes(key) + " twice", "once");
        }
        return true;
    };
    try {
        Json json = Json::parse(text.begin(), text.end(), check);
        if (!json.is_object()) throw BadCase(file, text_of(json), "a JSON object");
        return json;
    } catch (const Json::exception& error) {
        // "[json.exception.parse_error.101] parse error at line 1, column 2: ...": the library's own name is left out.
        std::string_view message = error.what();
        message.remove_prefix(std::min(message.find("] ") + 2, message.size()));
        throw BadCase(file, in_quotes(message.substr(0, message.find("; last read")), 160), "valid JSON");
    }
}

/// An integer that std::int64_t can hold; nothing for any other value.
std::optional<std::int64_t> integer_in(const Json& value) {
    if (!value.is_number_integer()) return std::nullopt;
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > largest) return std::nullopt;
    return value.get<std::int64_t>();
}

/// Null when the param is absent.
const Json* find(const Json& params, std::string_view name) {
    const auto found = params.find(std::string(name));
    return found == params.end() ? nullptr : &*found;
}

[[noreturn]] void refuse(std::string_view file, std::string_view name, const Json& found, std::string_view expected) {
    throw BadCase(file, "params." + std::string(name) + " = " + text_of(found), expected);
}

[[noreturn]] void refuse_missing(std::string_view file, std::string_view name, std::string_view expected) {
    throw BadCase(file, "no params." + std::string(name), expected);
}

void check_tolerance(const Json& params, std::string_view file) {
    const Json* value = find(params, "tolerance");
    if (value == nullptr) return;
    const auto check_bound = [&](const std::string& name, const Json& bound) {
        const bool valid = bound.is_number() && std::isfinite(bound.get<double>()) && bound.get<double>() > 0;
        if (!valid) refuse(file, name, bound, "a positive number");
    };
    if (value->is_number()) return check_bound("tolerance", *value);
    if (!value->is_object()) refuse(file, "tolerance", *value, "a number or an object of numbers by dtype");
    for (const auto& [dtype, bound] : value->items()) {
        if (std::find(tolerance_types.begin(), tolerance_types.end(), dtype) == tolerance_types.end()) {
            throw BadCase(file, "params.tolerance for " + in_quotes(dtype) + suggestion(dtype, tolerance_types),
                          "only " + joined(tolerance_types));
        }
        check_bound("tolerance." + dtype, bound);
    }
}

const std::string& string_in(const Json& json, const char* key, std::string_view file) {
    const Json& value = json.at(key);
    if (!value.is_string()) throw BadCase(file, std::string(key) + " = " + text_of(value), "a string");
    return value.get_ref<const std::string&>();
}

std::string contents(const std::filesystem::path& path) {
    auto [stream, size] = open_file(path, "a case.json file");
    if (size > largest_json) {
        throw BadCase(path.string(), std::to_string(size) + " bytes", "at most " + std::to_string(largest_json));
    }
    std::string text(size, ' ');
    stream.read(text.data(), static_cast<std::streamsize>(size));
    if (static_cast<std::uint64_t>(stream.gcount()) != size) {
        throw BadCase(path.string(), "a file that could not be read to its end", std::to_string(size) + " bytes");
    }
    return text;
}

/// Whether the file is one of the tensors of a case. Hidden files are those of editors and interrupted writers.
bool is_tensor(const std::filesystem::path& path) {
    return path.extension() == ".npy" && !path.filename().string().starts_with('.');
}

/// The tensors that stand in a folder, by name.
std::map<std::string, std::filesystem::path> tensors_in(const std::filesystem::path& folder) {
    std::map<std::string, std::filesystem::path> result;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (is_tensor(entry.path())) result.emplace(entry.path().stem().string(), entry.path());
    }
    return result;
}

std::map<std::string, Array> read_tensors(const std::filesystem::path& folder) {
    std::map<std::string, Array> result;
    for (const auto& [name, path] : tensors_in(folder)) result.emplace(name, read_npy(path));
    return result;
}

void write_tensors(const std::filesystem::path& folder, const std::map<std::string, Array>& tensors) {
    for (const auto& [name, path] : tensors_in(folder)) {
        if (!tensors.contains(name)) {
            throw std::runtime_error("cannot write a case to " + folder.string() + ": it holds " +
                                     path.filename().string() + ", which is not part of the case");
        }
    }
    for (const auto& [name, array] : tensors) {
        if (name.empty() || name.starts_with('.') || name.find_first_of(std::string_view("/\0", 2)) != name.npos) {
            throw std::runtime_error("cannot write a case to " + folder.string() + ": a tensor is named " +
                                     in_quotes(name) + ", expected a plain file name");
        }
        write_npy(folder / (name + ".npy"), array);
    }
}

}  // namespace

Params::Params() : values_(std::make_shared<Values>()), file_("case.json") {}

Params::Params(std::shared_ptr<const Values> values, std::string file)
    : values_(std::move(values)), file_(std::move(file)) {
    check_tolerance(values_->json, file_);
}

Params Params::parse(std::string_view json, std::string file) {
    auto values = std::make_shared<Values>(Values{parse_object(json, file)});
    return Params(std::move(values), std::move(file));
}

bool Params::has(std::string_view name) const { return find(values_->json, name) != nullptr; }

bool Params::boolean(std::string_view name, bool fallback) const {
    const Json* value = find(values_->json, name);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) refuse(file_, name, *value, "true or false");
    return value->get<bool>();
}

std::optional<double> Params::number(std::string_view name) const {
    const Json* value = find(values_->json, name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(file_, name, *value, "a finite number");
    return value->get<double>();
}

std::int64_t Params::integer(std::string_view name, std::int64_t minimum, std::int64_t maximum,
                             std::optional<std::int64_t> fallback) const {
    const bool bounded = maximum != std::numeric_limits<std::int64_t>::max();
    const std::string expected =
        "an integer " + (bounded ? "in " + std::to_string(minimum) + "..." + std::to_string(maximum)
                                 : "of at least " + std::to_string(minimum));
    const Json* value = find(values_->json, name);
    if (value == nullptr) {
        if (!fallback) refuse_missing(file_, name, expected);
        return *fallback;
    }
    const auto found = integer_in(*value);
    if (!found || *found < minimum || *found > maximum) refuse(file_, name, *value, expected);
    return *found;
}

std::string Params::choice(std::string_view name, const std::vector<std::string>& allowed,
                           std::optional<std::string_view> fallback) const {
    const std::string expected = "one of " + joined(allowed);
    const Json* value = find(values_->json, name);
    if (value == nullptr) {
        if (!fallback) refuse_missing(file_, name, expected);
        return std::string(*fallback);
    }
    if (!value->is_string()) refuse(file_, name, *value, expected);
    const auto& word = value->get_ref<const std::string&>();
    if (std::find(allowed.begin(), allowed.end(), word) == allowed.end()) refuse(file_, name, *value, expected);
    return word;
}

std::vector<std::int64_t> Params::integers(std::string_view name) const {
    const Json* value = find(values_->json, name);
    if (value == nullptr) return {};
    if (!value->is_array()) refuse(file_, name, *value, "a list of integers");
    std::vector<std::int64_t> result;
    for (const Json& element : *value) {
        const auto found = integer_in(element);
        if (!found) refuse(file_, std::string(name) + "[" + std::to_string(result.size()) + "]", element, "an integer");
        result.push_back(*found);
    }
    return result;
}

std::optional<double> Params::tolerance(std::string_view dtype_name) const {
    const Json* value = find(values_->json, "tolerance");
    if (value != nullptr && value->is_object()) value = find(*value, dtype_name);
    if (value == nullptr) return std::nullopt;
    return value->get<double>();
}

void Params::refuse_others(const std::vector<std::string>& allowed) const {
    std::vector<std::string> names = allowed;
    names.emplace_back("tolerance");
    for (const auto& [name, value] : values_->json.items()) {
        if (std::find(names.begin(), names.end(), name) != names.end()) continue;
        throw BadCase(file_, "the unknown param " + in_quotes(name) + suggestion(name, names), "only " + joined(names));
    }
}

std::string Params::json() const { return values_->json.dump(); }

Case parse_case_json(std::string_view text, std::string_view file) {
    Json json = parse_object(text, file);
    const std::vector<std::string> keys = {"mechanism", "params", "origin"};
    for (const auto& [key, value] : json.items()) {
        if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
        throw BadCase(file, "the unknown key " + in_quotes(key) + suggestion(key, keys), "only " + joined(keys));
    }
    Case result;
    if (!json.contains("mechanism")) throw BadCase(file, "no mechanism", "the name of one");
    result.mechanism = string_in(json, "mechanism", file);
    if (result.mechanism.empty()) throw BadCase(file, "mechanism = \"\"", "the name of one");
    if (json.contains("origin")) result.origin = string_in(json, "origin", file);

    auto values = std::make_shared<Params::Values>();
    if (json.contains("params")) values->json = std::move(json["params"]);
    if (!values->json.is_object()) throw BadCase(file, "params = " + text_of(values->json), "an object");
    result.params = Params(std::move(values), std::string(file));
    return result;
}

std::string format_case_json(const Case& value) {
    Json json = {{"mechanism", value.mechanism}, {"params", Json::parse(value.params.json())}};
    if (!value.origin.empty()) json["origin"] = value.origin;
    try {
        return json.dump(2) + "\n";
    } catch (const Json::exception&) {
        throw std::runtime_error("cannot write a case.json: mechanism or origin is not UTF-8");
    }
}

Case read_case(const std::filesystem::path& folder) {
    try {
        if (!std::filesystem::exists(folder)) throw BadCase(folder.string(), "no such folder", "the folder of a case");
        if (!std::filesystem::is_directory(folder)) {
            throw BadCase(folder.string(), "something that is not a folder", "the folder of a case");
        }
        const auto json = folder / "case.json";
        Case result = parse_case_json(contents(json), json.string());
        result.folder = folder;
        result.inputs = read_tensors(folder);

        const auto expected = folder / "expected";
        if (!std::filesystem::exists(std::filesystem::symlink_status(expected))) return result;
        if (!std::filesystem::is_directory(expected)) {
            throw BadCase(expected.string(), "something that is not a folder", "a folder of the expected outputs");
        }
        result.has_expected = true;
        result.expected = read_tensors(expected);
        // A comparison with nothing would pass whatever was computed.
        if (result.expected.empty()) throw BadCase(expected.string(), "no .npy file", "at least one expected output");
        return result;
    } catch (const std::filesystem::filesystem_error& error) {
        throw BadCase(error.path1().empty() ? folder.string() : error.path1().string(), error.code().message(),
                      "a readable case");
    }
}

void write_case(const std::filesystem::path& folder, const Case& value) {
    const auto refuse = [&](const std::string& reason) {
        throw std::runtime_error("cannot write a case to " + folder.string() + ": " + reason);
    };
    const std::string text = format_case_json(value);
    const auto expected = folder / "expected";
    if (value.has_expected == value.expected.empty()) refuse("has_expected contradicts the number of expected outputs");
    try {
        if (!value.has_expected && std::filesystem::exists(expected)) {
            refuse("it holds expected/, which is not part of the case");
        }
        std::filesystem::create_directories(value.has_expected ? expected : folder);
        write_tensors(folder, value.inputs);
        if (value.has_expected) write_tensors(expected, value.expected);
    } catch (const std::filesystem::filesystem_error& error) {
        refuse(error.code().message());
    }
    write_file(folder / "case.json", std::as_bytes(std::span(text)));
}

}  // namespace attn
