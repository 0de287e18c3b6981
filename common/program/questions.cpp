#include "common/program/questions.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <tuple>

#include "common/mechanism/recall.hpp"
#include "common/program/program.hpp"
#include "common/tensor/nearest.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t largest_file = 1 << 20;
constexpr int largest_n = 4096, largest_heads = 64;
constexpr double largest_value = 1e15;  // above, neighbouring integers are no longer told apart

const std::map<std::string, std::int64_t Costs::*> quantities = {{"bytes_held", &Costs::bytes_held},
                                                                 {"exponentials", &Costs::exponentials},
                                                                 {"multiply_adds", &Costs::multiply_adds}};

// Of the recall experiment, with so many pairs; for the limit: with so many at most.
using RecallQuantity = double (*)(const Mechanism&, const RecallEntry&, int pairs);
const std::map<std::string, RecallQuantity> recall_quantities = {
    {"recall_error", [](auto& mechanism, auto& entry, int pairs) { return recall(mechanism, entry, pairs).error; }},
    {"recall_hits", [](auto& mechanism, auto& entry, int pairs) { return 100 * recall(mechanism, entry, pairs).hits; }},
    {"recall_limit", recall_limit}};

fs::path section_folder() { return fs::path(ATTN_SOURCE_FOLDER) / "chapters" / "section_19_9"; }

std::string contents(const fs::path& path) {
    auto [stream, size] = open_file(path, "a text file");
    if (size > largest_file)
        throw BadCase(path.string(), fmt::format("{} bytes", size), fmt::format("at most {}", largest_file));
    std::string text(size, ' ');
    stream.read(text.data(), static_cast<std::streamsize>(size));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
    return text;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t end = std::min(text.find('\n', from), text.size());
        lines.push_back(text.substr(from, end - from));
        from = end + 1;
    }
    return lines;
}

std::string trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
    return first == text.npos ? "" : std::string(text.substr(first, last - first + 1));
}

// The line of a file, as compilers name it.
std::string place(const fs::path& file, const toml::source_region& region) {
    return fmt::format("{}:{}", file.string(), region.begin.line);
}

// A value as text for a message: one line, shortened when long.
std::string text_of(const toml::node& value) {
    if (const auto* text = value.as_string()) return in_quotes(text->get());
    std::ostringstream stream;
    value.visit([&](const auto& known) { stream << known; });
    const std::string quoted = in_quotes(stream.str());
    return quoted.substr(1, quoted.size() - 2);
}

void refuse_other_keys(const toml::table& table, const std::vector<std::string>& allowed, const fs::path& file) {
    for (auto&& [key, value] : table) {
        const std::string name(key.str());
        if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
            throw BadCase(place(file, value.source()), "the key " + in_quotes(name),
                          fmt::format("only {}", fmt::join(allowed, ", ")));
    }
}

// Calls use(entry) for each of the file's [[key]] entries, tables with no other keys than these. On the entries
// themselves: a copy no longer knows its line.
template <class Use>
void each_entry(const fs::path& file, const char* key, const std::vector<std::string>& allowed, Use use) {
    toml::table table;
    try {
        table = toml::parse(contents(file), file.string());
    } catch (const toml::parse_error& error) {
        throw BadCase(place(file, error.source()), in_quotes(error.description(), 160), "valid TOML");
    }
    refuse_other_keys(table, {key}, file);
    const toml::array* array = table[key].as_array();
    const std::string expected = fmt::format("[[{}]] entries", key);
    if (!array || array->empty()) throw BadCase(file.string(), fmt::format("no [[{}]]", key), expected);
    for (const toml::node& node : *array) {
        if (!node.is_table()) throw BadCase(place(file, node.source()), text_of(node), expected);
        refuse_other_keys(*node.as_table(), allowed, file);
        use(*node.as_table());
    }
}

// What an entry holds under `key`, or a refusal that says what it must be.
const toml::node& required(const toml::table& entry, const char* key, const char* expected, const fs::path& file) {
    const toml::node* value = entry.get(key);
    if (!value) throw BadCase(place(file, entry.source()), fmt::format("an entry without {}", key), expected);
    return *value;
}

std::string line_in(const toml::table& entry, const char* key, const fs::path& file) {
    const char* expected = "a text of one line";
    const toml::node& value = required(entry, key, expected, file);
    const auto* text = value.as_string();
    if (!text || trimmed(text->get()).empty() || text->get().find('\n') != std::string::npos)
        throw BadCase(place(file, value.source()), fmt::format("{} = {}", key, text_of(value)), expected);
    return text->get();
}

// One integer in 1 … largest, or, where `pair`, also two.
std::vector<int> integers_in(const toml::table& entry, const char* key, int largest, bool pair, const fs::path& file) {
    const std::string expected =
        fmt::format("an integer in 1...{}{}", largest, pair ? ", or two that are not equal" : "");
    const toml::node& value = required(entry, key, expected.c_str(), file);
    std::vector<int> numbers;
    bool valid = true;
    const auto add = [&](const toml::node& node) {
        const auto* number = node.as_integer();
        valid = valid && number && number->get() >= 1 && number->get() <= largest;
        if (valid) numbers.push_back(static_cast<int>(number->get()));
    };
    if (const toml::array* array = value.as_array(); array && pair) {
        for (const toml::node& node : *array) add(node);
        valid = valid && numbers.size() == 2 && numbers[0] != numbers[1];
    } else {
        add(value);
    }
    if (!valid) throw BadCase(place(file, value.source()), fmt::format("{} = {}", key, text_of(value)), expected);
    return numbers;
}

double tolerance_in(const toml::table& entry, const fs::path& file) {
    const char* expected = "\"exact\" or a number above 0 and below 1";
    const toml::node& value = required(entry, "tolerance", expected, file);
    if (value.value<std::string>() == "exact") return 0;
    const double tolerance = value.is_number() ? value.value_or(0.0) : 0;
    if (!(tolerance > 0 && tolerance < 1))
        throw BadCase(place(file, value.source()), "tolerance = " + text_of(value), expected);
    return tolerance;
}

// A table of numbers, texts, and true or false, as case.json has it.
std::string params_in(const toml::table& entry, const fs::path& file) {
    const char* expected = "a table of numbers, texts, true and false";
    const toml::node& value = required(entry, "params", expected, file);
    const toml::table* table = value.as_table();
    bool valid = table && !table->empty();
    if (table)
        for (auto&& [key, param] : *table)
            valid = valid && (param.is_number() || param.is_string() || param.is_boolean());
    if (!valid) throw BadCase(place(file, value.source()), "params = " + text_of(value), expected);
    std::ostringstream json;
    json << toml::json_formatter(*table);
    return json.str();
}

// The mechanism's own case of this size, with other params and heads where the measurement asks for them.
Case case_of(const Mechanism& mechanism, const Measurement& measurement, int n, int kv_heads) {
    Case sized = mechanism.sized_case(n);
    if (!measurement.params.empty()) sized.params = Params::parse(measurement.params, "measurements.toml");
    if (measurement.heads == 0) return sized;
    for (auto [name, heads] : {std::pair{"q", measurement.heads}, {"k", kv_heads}, {"v", kv_heads}}) {
        const auto entry = sized.inputs.find(name);
        if (entry == sized.inputs.end() || entry->second.shape.size() != 4)
            throw BadCase("measurements.toml", measurement.name + " with heads",
                          fmt::format("a mechanism whose {} is [B, heads, n, D]", name));
        auto shape = entry->second.shape;
        shape[1] = heads;
        entry->second = zeros(entry->second.dtype, shape);  // what it costs does not depend on the numbers
    }
    return sized;
}

const RecallEntry* find_recall(const Mechanism& mechanism, const std::string& name) {
    for (const RecallEntry& entry : mechanism.recall)
        if (entry.name == name) return &entry;
    return nullptr;
}

// Counted while the naive version runs. NaN where a ratio has no meaning.
double measure(const Mechanism& mechanism, const Measurement& m) {
    if (!m.recall.empty()) {
        const auto result = [&](int pairs) {
            return recall_quantities.at(m.quantity)(mechanism, *find_recall(mechanism, m.recall), pairs);
        };
        const double last = result(m.n.back());
        return m.n.size() < 2 ? last : last / result(m.n.front());
    }
    const auto count = [&](int n, int kv_heads) {
        const Costs costs = mechanism.counted_costs(case_of(mechanism, m, n, kv_heads));
        return static_cast<double>(costs.*quantities.at(m.quantity));
    };
    const bool shared = !m.kv_heads.empty();
    const double last = count(m.n.back(), shared ? m.kv_heads.back() : 0);
    if (m.n.size() < 2 && m.kv_heads.size() < 2) return last;
    const double first = count(m.n.front(), shared ? m.kv_heads.front() : 0);
    return first > 0 ? last / first : std::nan("");
}

PredictionVerdict judge_prediction(const Prediction& prediction, const Measurement& measurement) {
    PredictionVerdict verdict;
    verdict.name = prediction.name, verdict.question = prediction.question, verdict.unit = prediction.unit;
    verdict.predicted = prediction.value;
    const Mechanism* mechanism = find_mechanism(measurement.mechanism);
    verdict.measurable =
        mechanism && (measurement.recall.empty() ? mechanism->sized_case && mechanism->counted_costs
                                                 : find_recall(*mechanism, measurement.recall) != nullptr);
    const std::string not_built =
        verdict.measurable ? "" : "not measured: " + measurement.mechanism + " is not built yet";
    if (!prediction.value) {
        verdict.text = prediction.trouble.empty() ? "no number yet" : prediction.trouble;
        if (!verdict.measurable) verdict.text += "; " + not_built;
        return verdict;
    }
    verdict.status = PredictionStatus::not_measured;
    verdict.text = not_built;
    if (!verdict.measurable) return verdict;
    const double measured = measure(*mechanism, measurement), predicted = *prediction.value;
    if (std::isnan(measured)) {
        verdict.measurable = false;
        verdict.text = fmt::format("not measured: {} is 0, which has no ratio", measurement.quantity);
        return verdict;
    }
    verdict.measured = measured;
    const bool right = std::abs(predicted - measured) <= measurement.tolerance * std::abs(measured);
    verdict.status = right ? PredictionStatus::right : PredictionStatus::wrong;
    verdict.text = fmt::format("predicted {:.12g}, measured {:.12g}", predicted, measured);
    if (right) return verdict;
    const double off = predicted - measured;
    if (std::abs(off) < std::abs(measured) / 100)
        verdict.text += fmt::format(": off by {:.12g}", off);  // the ratio would be shown as 1
    else if (measured != 0)
        verdict.text += fmt::format(": {:.3g} times what was measured", predicted / measured);
    verdict.text += "; to see it: " + measurement.shown_by;
    return verdict;
}

}  // namespace

const char* text(PredictionStatus status) {
    switch (status) {
        case PredictionStatus::right: return "right";
        case PredictionStatus::wrong: return "wrong";
        case PredictionStatus::unanswered: return "unanswered";
        default: return "not measured";
    }
}

std::vector<Measurement> read_measurements(const fs::path& file) {
    std::vector<Measurement> all;
    std::set<std::pair<std::string, std::string>> seen;
    each_entry(
        file, "measurement",
        {"question", "name", "mechanism", "quantity", "n", "params", "recall", "heads", "kv_heads", "tolerance",
         "shown_by"},
        [&](const toml::table& entry) {
            Measurement m;
            m.question = line_in(entry, "question", file);
            m.name = line_in(entry, "name", file);
            m.mechanism = line_in(entry, "mechanism", file);
            m.quantity = line_in(entry, "quantity", file);
            m.n = integers_in(entry, "n", largest_n, true, file);
            if (entry.contains("params")) m.params = params_in(entry, file);
            if (entry.contains("recall")) m.recall = line_in(entry, "recall", file);
            if (entry.contains("heads") || entry.contains("kv_heads")) {
                m.heads = integers_in(entry, "heads", largest_heads, false, file).front();
                m.kv_heads = integers_in(entry, "kv_heads", largest_heads, true, file);
            }
            m.tolerance = tolerance_in(entry, file);
            m.shown_by = line_in(entry, "shown_by", file);

            const std::string where = place(file, entry.source());
            if (m.recall.empty() ? !quantities.contains(m.quantity) : !recall_quantities.contains(m.quantity)) {
                std::vector<std::string> names;
                if (m.recall.empty())
                    for (const auto& [name, member] : quantities) names.push_back(name);
                else
                    for (const auto& [name, value] : recall_quantities) names.push_back(name);
                throw BadCase(where, "quantity = " + in_quotes(m.quantity), fmt::format("{}", fmt::join(names, ", ")));
            }
            if (m.n.size() == 2 && m.kv_heads.size() == 2)
                throw BadCase(where, "two n and two kv_heads", "one pair, to take the ratio of");
            for (int kv_heads : m.kv_heads)
                if (m.heads % kv_heads != 0)
                    throw BadCase(where, fmt::format("{} kv_heads", kv_heads), fmt::format("a divisor of {}", m.heads));
            if (!seen.insert({m.question, m.name}).second)
                throw BadCase(where, "the measurement " + in_quotes(m.name) + " twice", "once in a question");
            all.push_back(m);
        });
    return all;
}

std::vector<Prediction> read_predictions(const fs::path& file) {
    std::vector<Prediction> all;
    std::set<std::string> seen;
    each_entry(file, "prediction", {"name", "question", "unit", "value"}, [&](const toml::table& entry) {
        Prediction p;
        p.name = line_in(entry, "name", file);
        p.question = line_in(entry, "question", file);
        p.unit = line_in(entry, "unit", file);
        if (!seen.insert(p.name).second)
            throw BadCase(place(file, entry.source()), "the prediction " + in_quotes(p.name) + " twice", "once");
        const toml::node& value = required(entry, "value", "a number, or \"?\" where there is none yet", file);
        const double number = value.is_number() ? value.value_or(0.0) : std::nan("");
        if (std::abs(number) <= largest_value)  // false for NaN
            p.value = number;
        else if (value.value<std::string>() != "?")
            p.trouble = fmt::format("found {}, expected a plain number of at most {:g}", text_of(value), largest_value);
        all.push_back(p);
    });
    return all;
}

std::pair<std::string, std::vector<Criterion>> read_question(const fs::path& readme) {
    const std::vector<std::string> lines = lines_of(contents(readme));
    if (lines.empty() || !lines[0].starts_with("# ")) throw BadCase(readme.string(), "no title", "# and a title");
    std::vector<Criterion> rubric;
    bool inside = false;
    for (std::size_t number = 0; number < lines.size(); ++number) {
        const std::string line = trimmed(lines[number]);
        if (line.starts_with("#")) inside = line == "## Rubric";
        if (!inside || !line.starts_with("|") || line.starts_with("|---") || line.starts_with("| points")) continue;
        const std::size_t second = line.find('|', 1), end = line.rfind('|');
        const std::string points = trimmed(line.substr(1, second - 1));
        const std::string text = end > second ? trimmed(line.substr(second + 1, end - second - 1)) : "";
        if (points.size() != 1 || points[0] < '1' || points[0] > '9' || text.empty())
            throw BadCase(fmt::format("{}:{}", readme.string(), number + 1), in_quotes(line),
                          "| points in 1...9 | what the answer must contain |");
        rubric.push_back({points[0] - '0', text});
    }
    if (rubric.empty()) throw BadCase(readme.string(), "no rubric", "a table below \"## Rubric\"");
    return {trimmed(lines[0].substr(2)), rubric};
}

bool is_written(const fs::path& answer) {
    std::string text = contents(answer);
    for (std::size_t from; (from = text.find("<!--")) != text.npos;) {
        const std::size_t end = text.find("-->", from);
        text.erase(from, end == text.npos ? text.npos : end + 3 - from);
    }
    for (const std::string& line : lines_of(text))
        if (const std::string rest = trimmed(line); !rest.empty() && !rest.starts_with("#")) return true;
    return false;
}

std::vector<std::string> question_names() {
    std::set<std::string> names;
    for (const Measurement& measurement : read_measurements(section_folder() / "measurements.toml"))
        names.insert(measurement.question);
    return {names.begin(), names.end()};
}

fs::path question_folder(std::string_view name) { return section_folder() / name; }

QuestionVerdict judge_question(std::string_view name, const fs::path& folder) {
    QuestionVerdict verdict;
    verdict.name = name;
    std::vector<Measurement> measurements;
    for (const Measurement& measurement : read_measurements(section_folder() / "measurements.toml"))
        if (measurement.question == name) measurements.push_back(measurement);
    if (measurements.empty())
        throw BadCase("section_19_9", "the question " + in_quotes(name),
                      fmt::format("{}", fmt::join(question_names(), ", ")));
    std::tie(verdict.title, verdict.rubric) = read_question(question_folder(name) / "README.md");

    const fs::path file = folder / "predictions.toml";
    const std::vector<Prediction> predictions = read_predictions(file);
    std::vector<std::string> known;
    for (const Measurement& measurement : measurements) known.push_back(measurement.name);
    for (const Prediction& prediction : predictions)
        if (std::find(known.begin(), known.end(), prediction.name) == known.end()) {
            const std::string near = nearest(prediction.name, known);
            throw BadCase(file.string(), "the prediction " + in_quotes(prediction.name),
                          near.empty() ? fmt::format("only {}", fmt::join(known, ", ")) : in_quotes(near));
        }
    for (const Measurement& measurement : measurements) {
        const auto prediction = std::find_if(predictions.begin(), predictions.end(),
                                             [&](const Prediction& p) { return p.name == measurement.name; });
        if (prediction == predictions.end())
            throw BadCase(file.string(), "no prediction " + in_quotes(measurement.name),
                          fmt::format("one for each of {}", fmt::join(known, ", ")));
        verdict.predictions.push_back(judge_prediction(*prediction, measurement));
    }
    verdict.answer_written = is_written(folder / "answer.md");
    return verdict;
}

int print_question(const QuestionVerdict& verdict) {
    const std::string folder = "chapters/section_19_9/" + verdict.name;
    std::map<PredictionStatus, int> counts;
    bool wrong = false, unanswered = false;
    fmt::print("{}: {}\n", verdict.name, verdict.title);
    for (const PredictionVerdict& p : verdict.predictions) {
        ++counts[p.status];
        wrong = wrong || p.status == PredictionStatus::wrong;
        unanswered = unanswered || (p.status == PredictionStatus::unanswered && p.measurable);
        fmt::print("\n{:<12}  {} ({})\n{:<12}  {}\n", text(p.status), p.question, p.unit, "", p.text);
    }
    fmt::print("\nPredictions:");
    const char* separator = " ";
    for (const auto& [status, count] : counts) {
        fmt::print("{}{} {}", separator, count, text(status));
        separator = ", ";
    }
    fmt::print(".\n");
    if (unanswered) fmt::print("Next: put your numbers into {}/predictions.toml\n", folder);
    int points = 0;
    for (const Criterion& criterion : verdict.rubric) points += criterion.points;
    fmt::print("\n{}The written answer is for a person to grade ({} points); its rubric: {}/README.md\n",
               verdict.answer_written ? "" : "answer.md: nothing written yet.\n", points, folder);
    return wrong ? exit_outside_bound : unanswered ? exit_not_implemented : exit_ok;
}

}  // namespace attn
