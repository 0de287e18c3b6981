// Cases and their params: what is right is read, all else is refused with a line that names file, finding and wish.
#include "common/tensor/case.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/tensor/nearest.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"

using namespace attn;
using attn::testing::check_message;
using attn::testing::refusal;

namespace {

constexpr std::int64_t unbounded = std::numeric_limits<std::int64_t>::max();

void check_json_refused(const std::string& text, std::initializer_list<std::string> parts) {
    check_message(refusal([&] { parse_case_json(text, "some/case.json"); }), "some/case.json", parts);
}

void check_params_refused(const std::string& text, std::initializer_list<std::string> parts) {
    check_message(refusal([&] { Params::parse(text); }), "case.json", parts);
    check_json_refused(R"({"mechanism": "dense", "params": )" + text + "}", parts);
}

/// What `get` throws on these params.
template <class Get>
void check_value_refused(const std::string& text, Get get, std::initializer_list<std::string> parts) {
    const Params params = Params::parse(text);
    check_message(refusal([&] { get(params); }), "case.json", parts);
}

/// A folder that goes away with the test.
struct TemporaryFolder {
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "case_test.XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

Array counting(DType dtype, std::vector<std::int64_t> shape) {
    Array array = zeros(dtype, std::move(shape));
    for (std::size_t i = 0; i < array.bytes.size(); ++i) array.bytes[i] = static_cast<std::byte>(i * 37 + 11);
    return array;
}

Case small_case() {
    Case value;
    value.mechanism = "jamba";
    value.params = Params::parse(R"({"scale": 0.25, "layers": [1, 2], "nested": {"a": null}, "tolerance": 1e-3})");
    value.origin = "computed by hand, \"twice\", in Zürich";
    value.inputs = {{"hidden", counting(DType::float32, {1, 2, 3})},
                    {"layers.0.w_q", counting(DType::float64, {3, 3})},
                    {"indices", counting(DType::int64, {4})}};
    value.expected = {{"out", counting(DType::float64, {1, 2, 3})}, {"experts", counting(DType::int32, {2})}};
    value.has_expected = true;
    return value;
}

}  // namespace

TEST_CASE("case.json: what it may hold", "[case]") {
    SECTION("everything") {
        const Case value = parse_case_json(
            R"({"mechanism": "dense", "params": {"causal": true}, "origin": "PyTorch 2.4"})", "case.json");
        CHECK(value.mechanism == "dense");
        CHECK(value.params.boolean("causal", false));
        CHECK(value.origin == "PyTorch 2.4");
        CHECK_FALSE(value.has_expected);
    }
    SECTION("params and origin may be absent") {
        const Case value = parse_case_json(R"({"mechanism": "rwkv"})", "case.json");
        CHECK(value.params.json() == "{}");
        CHECK(value.origin.empty());
    }
}

TEST_CASE("case.json: text that is not a JSON object is refused", "[case]") {
    SECTION("not JSON") { check_json_refused("mechanism: dense", {"parse error at line 1, column 1", "valid JSON"}); }
    SECTION("empty") { check_json_refused("", {"unexpected end of input", "valid JSON"}); }
    SECTION("cut off") { check_json_refused(R"({"mechanism": "den)", {"missing closing quote", "valid JSON"}); }
    SECTION("text after the object") { check_json_refused(R"({"mechanism": "dense"} {})", {"column 24"}); }
    SECTION("a trailing comma") { check_json_refused(R"({"mechanism": "dense",})", {"parse error", "valid JSON"}); }
    SECTION("NaN is not JSON") { check_json_refused(R"({"params": {"scale": NaN}})", {"parse error", "valid JSON"}); }
    SECTION("a number beyond double") {
        check_json_refused(R"({"params": {"scale": 1e999}})", {"number overflow", "1e999", "valid JSON"});
    }
    SECTION("a list") { check_json_refused("[1, 2]", {"found [1,2]", "a JSON object"}); }
    SECTION("a NUL, which the JSON library takes for the end") {
        check_json_refused(std::string("{\"mechanism\": \"dense\"}\0{", 24), {"a NUL at byte 22", "JSON text"});
    }
    SECTION("not UTF-8") {
        check_json_refused("{\"mechanism\": \"\xff\xfe\"}", {"ill-formed UTF-8", "valid JSON"});
        check_json_refused("{\"mechanism\": \"\xc0\xaf\"}", {"ill-formed UTF-8"});
    }
    SECTION("half a surrogate pair") { check_json_refused(R"({"mechanism": "\ud800"})", {"surrogate", "valid JSON"}); }
    SECTION("nested without end") {
        check_json_refused(std::string(100000, '['), {"nested more than 32 deep", "less"});
        std::string objects;
        for (int i = 0; i < 10000; ++i) objects += "{\"a\":";
        check_json_refused(objects, {"nested more than 32 deep", "less"});
    }
    SECTION("more than 1 MiB") {
        check_json_refused("{}" + std::string(1 << 20, ' '), {"1048578 bytes", "at most 1048576"});
    }
    SECTION("an error in a hostile text stays on one line") {
        check_json_refused("{\"a\n\x1b[2J\": \"" + std::string(1000, 'x') + "\"", {"parse error", "valid JSON"});
        check_json_refused("[\"" + std::string(1000, 'x') + "\"]", {"xxx...\""});
    }
}

TEST_CASE("case.json: duplicate keys are refused wherever they stand", "[case]") {
    check_json_refused(R"({"mechanism": "dense", "mechanism": "flash_attention"})", {"\"mechanism\" twice", "once"});
    check_params_refused(R"({"causal": true, "causal": false})", {"\"causal\" twice", "once"});
    check_params_refused(R"({"a": [{"b": 1}, {"c": 1, "c": 1}]})", {"\"c\" twice", "once"});
    SECTION("also when one of them is written with an escape") {
        check_params_refused(R"({"causal": true, "\u0063ausal": false})", {"\"causal\" twice", "once"});
    }
    SECTION("the same key in different objects is none") {
        CHECK_NOTHROW(Params::parse(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})"));
    }
}

TEST_CASE("case.json: keys and their kinds", "[case]") {
    SECTION("an unknown key") {
        check_json_refused(R"({"mechanism": "dense", "parms": {}})",
                           {"unknown key \"parms\" (did you mean \"params\"?)", "only mechanism, params, origin"});
        check_json_refused(R"({"mechanism": "dense", "x": {}})", {"unknown key \"x\", expected only"});
    }
    SECTION("no mechanism") {
        check_json_refused("{}", {"no mechanism", "the name of one"});
        check_json_refused(R"({"mechanism": ""})", {"mechanism = \"\"", "the name of one"});
    }
    SECTION("a mechanism that is not a string") {
        check_json_refused(R"({"mechanism": 7})", {"mechanism = 7", "a string"});
    }
    SECTION("params that are not an object") {
        check_json_refused(R"({"mechanism": "dense", "params": [1]})", {"params = [1]", "an object"});
        check_json_refused(R"({"mechanism": "dense", "params": null})", {"params = null", "an object"});
    }
    SECTION("an origin that is not a string") {
        check_json_refused(R"({"mechanism": "dense", "origin": {}})", {"origin = {}", "a string"});
    }
}

TEST_CASE("params: booleans", "[case]") {
    const Params params = Params::parse(R"({"yes": true, "no": false})");
    CHECK(params.boolean("yes", false));
    CHECK_FALSE(params.boolean("no", true));
    CHECK(params.boolean("absent", true));
    CHECK_FALSE(params.boolean("absent", false));
    const auto get = [](const Params& p) { p.boolean("causal", false); };
    check_value_refused(R"({"causal": 1})", get, {"params.causal = 1", "true or false"});
    check_value_refused(R"({"causal": "true"})", get, {"params.causal = \"true\"", "true or false"});
    check_value_refused(R"({"causal": null})", get, {"params.causal = null", "true or false"});
}

TEST_CASE("params: numbers", "[case]") {
    const Params params = Params::parse(R"({"scale": 0.125, "whole": 3, "null": null, "negative": -1e-3})");
    CHECK(params.number("scale") == 0.125);
    CHECK(params.number("whole") == 3.0);
    CHECK(params.number("negative") == -1e-3);
    CHECK_FALSE(params.number("null").has_value());
    CHECK_FALSE(params.number("absent").has_value());
    const auto get = [](const Params& p) { p.number("scale"); };
    check_value_refused(R"({"scale": "0.125"})", get, {"params.scale = \"0.125\"", "a finite number"});
    check_value_refused(R"({"scale": true})", get, {"params.scale = true", "a finite number"});
    check_value_refused(R"({"scale": [1]})", get, {"params.scale = [1]", "a finite number"});
}

TEST_CASE("params: integers", "[case]") {
    const Params params = Params::parse(R"({"window": 4, "least": -9223372036854775808, "most": 9223372036854775807})");
    CHECK(params.integer("window", 1, 4) == 4);
    CHECK(params.integer("window", 4, 9) == 4);
    CHECK(params.integer("absent", 1, 4, 2) == 2);
    CHECK(params.integer("least", std::numeric_limits<std::int64_t>::min(), 0) ==
          std::numeric_limits<std::int64_t>::min());
    CHECK(params.integer("most", 0, unbounded) == unbounded);

    const auto get = [](const Params& p) { p.integer("window", 1, 64); };
    SECTION("missing") { check_value_refused("{}", get, {"no params.window", "an integer in 1...64"}); }
    SECTION("out of range") {
        check_value_refused(R"({"window": 0})", get, {"params.window = 0", "an integer in 1...64"});
        check_value_refused(R"({"window": 65})", get, {"params.window = 65", "an integer in 1...64"});
        check_value_refused(R"({"window": -1})", [](const Params& p) { p.integer("window", 1, unbounded); },
                            {"params.window = -1", "an integer of at least 1"});
    }
    SECTION("beyond 64 bits, where a conversion would wrap around") {
        check_value_refused(R"({"window": 18446744073709551617})", get, {"an integer in 1...64"});
        check_value_refused(R"({"window": 9223372036854775808})",
                            [](const Params& p) { p.integer("window", 1, unbounded); },
                            {"params.window = 9223372036854775808", "an integer of at least 1"});
    }
    SECTION("another kind") {
        check_value_refused(R"({"window": 4.0})", get, {"params.window = 4.0", "an integer in 1...64"});
        check_value_refused(R"({"window": 4.5})", get, {"params.window = 4.5", "an integer"});
        check_value_refused(R"({"window": 1e1})", get, {"params.window = 10.0", "an integer"});
        check_value_refused(R"({"window": "4"})", get, {"params.window = \"4\"", "an integer"});
        check_value_refused(R"({"window": true})", get, {"params.window = true", "an integer"});
        check_value_refused(R"({"window": null})", get, {"params.window = null", "an integer"});
    }
}

TEST_CASE("params: choices", "[case]") {
    const Params params = Params::parse(R"({"form": "chunked"})");
    CHECK(params.choice("form", {"parallel", "chunked"}, "parallel") == "chunked");
    CHECK(params.choice("absent", {"parallel", "chunked"}, "parallel") == "parallel");
    CHECK(params.choice("form", {"chunked"}) == "chunked");

    const auto get = [](const Params& p) { p.choice("form", {"parallel", "recurrent"}); };
    check_value_refused("{}", get, {"no params.form", "one of parallel, recurrent"});
    check_value_refused(R"({"form": "Parallel"})", get, {"params.form = \"Parallel\"", "one of parallel, recurrent"});
    check_value_refused(R"({"form": 1})", get, {"params.form = 1", "one of parallel, recurrent"});
    check_value_refused(R"({"form": null})", get, {"params.form = null", "one of parallel, recurrent"});
}

TEST_CASE("params: lists of integers", "[case]") {
    const Params params = Params::parse(R"({"global_tokens": [0, 5, -1], "none": []})");
    CHECK(params.integers("global_tokens") == std::vector<std::int64_t>{0, 5, -1});
    CHECK(params.integers("none").empty());
    CHECK(params.integers("absent").empty());

    const auto get = [](const Params& p) { p.integers("global_tokens"); };
    check_value_refused(R"({"global_tokens": 3})", get, {"params.global_tokens = 3", "a list of integers"});
    check_value_refused(R"({"global_tokens": null})", get, {"params.global_tokens = null", "a list of integers"});
    check_value_refused(R"({"global_tokens": [0, 1.0]})", get, {"params.global_tokens[1] = 1.0", "an integer"});
    check_value_refused(R"({"global_tokens": [[0]]})", get, {"params.global_tokens[0] = [0]", "an integer"});
    check_value_refused(R"({"global_tokens": [9223372036854775808]})", get, {"params.global_tokens[0]", "an integer"});
}

TEST_CASE("params: tolerance is checked when the case is read", "[case]") {
    CHECK_FALSE(Params().tolerance("float32").has_value());
    CHECK(Params::parse(R"({"tolerance": 1e-3})").tolerance("float32") == 1e-3);
    CHECK(Params::parse(R"({"tolerance": 1})").tolerance("bfloat16") == 1.0);
    const Params by_type = Params::parse(R"({"tolerance": {"float32": 1e-4, "float16": 0.5}})");
    CHECK(by_type.tolerance("float32") == 1e-4);
    CHECK(by_type.tolerance("float16") == 0.5);
    CHECK_FALSE(by_type.tolerance("float64").has_value());

    check_params_refused(R"({"tolerance": 0})", {"params.tolerance = 0", "a positive number"});
    check_params_refused(R"({"tolerance": -1e-3})", {"params.tolerance = -0.001", "a positive number"});
    check_params_refused(R"({"tolerance": 1e-999})", {"params.tolerance = 0.0", "a positive number"});
    check_params_refused(R"({"tolerance": "1e-3"})", {"params.tolerance = \"1e-3\"", "a number or an object"});
    check_params_refused(R"({"tolerance": null})", {"params.tolerance = null", "a number or an object"});
    check_params_refused(R"({"tolerance": true})", {"params.tolerance = true", "a number or an object"});
    check_params_refused(R"({"tolerance": {"float32": 0}})", {"params.tolerance.float32 = 0", "a positive number"});
    check_params_refused(R"({"tolerance": {"float32": null}})", {"params.tolerance.float32 = null", "a positive"});
    check_params_refused(R"({"tolerance": {"float46": 1}})",
                         {"\"float46\" (did you mean \"float64\"?)", "only float64, float32, float16, bfloat16"});
}

TEST_CASE("params: unknown ones are refused with a suggestion", "[case]") {
    const Params params = Params::parse(R"({"causal": true, "tolerance": 1})");
    CHECK(params.has("causal"));
    CHECK_FALSE(params.has("scale"));
    CHECK(Params::parse(R"({"scale": null})").has("scale"));
    CHECK_NOTHROW(params.refuse_others({"causal", "scale"}));
    CHECK_NOTHROW(Params().refuse_others({}));

    const auto others = [](const Params& p) { p.refuse_others({"causal", "scale"}); };
    check_value_refused(R"({"casual": true})", others,
                        {"unknown param \"casual\" (did you mean \"causal\"?)", "only causal, scale, tolerance"});
    check_value_refused(R"({"window": 4})", others,
                        {"unknown param \"window\", expected only causal, scale, tolerance"});
    check_value_refused(R"({"x": 4})", [](const Params& p) { p.refuse_others({}); }, {"\"x\"", "only tolerance"});
    check_value_refused("{\"caus\\u001b[2J\\nal\": 1}", others, {R"("caus\x1b[2J\x0aal")", "only causal"});
}

TEST_CASE("params: equal text means equal params", "[case]") {
    CHECK(Params().json() == "{}");
    CHECK(Params::parse(R"({"b": 1.0, "a": [1, 2.5e-8, "x", null]})").json() ==
          R"({"a":[1,2.5e-08,"x",null],"b":1.0})");
}

TEST_CASE("case: what is written is read back", "[case]") {
    const TemporaryFolder folder;
    const auto path = folder.path / "deep" / "case";
    Case value = small_case();
    SECTION("with expected outputs") {}
    SECTION("without") {
        value.expected.clear();
        value.has_expected = false;
    }
    SECTION("without params and origin") {
        value.params = Params();
        value.origin.clear();
    }
    for (int time = 0; time < 2; ++time) {  // the second one overwrites
        write_case(path, value);
        const Case read = read_case(path);
        CHECK(read.folder == path);
        CHECK(read.mechanism == value.mechanism);
        CHECK(read.params.json() == value.params.json());
        CHECK(read.origin == value.origin);
        CHECK(read.inputs == value.inputs);
        CHECK(read.expected == value.expected);
        CHECK(read.has_expected == value.has_expected);
    }
}

TEST_CASE("case: folders that are not a case are refused", "[case]") {
    const TemporaryFolder folder;
    const auto path = folder.path / "case";
    const auto refused = [&](const std::filesystem::path& file, std::initializer_list<std::string> parts) {
        check_message(refusal([&] { read_case(path); }), file.string(), parts);
    };
    SECTION("a missing folder") { refused(path, {"no such folder", "the folder of a case"}); }
    SECTION("a file") {
        write_text(path, "{}");
        refused(path, {"not a folder", "the folder of a case"});
    }
    SECTION("no case.json") {
        std::filesystem::create_directories(path);
        refused(path / "case.json", {"no such file", "a case.json file"});
    }
    SECTION("a case.json that is a folder") {
        std::filesystem::create_directories(path / "case.json");
        refused(path / "case.json", {"a folder", "a case.json file"});
    }
    SECTION("a case.json of more than 1 MiB is not read") {
        std::filesystem::create_directories(path);
        write_text(path / "case.json", "{");
        std::filesystem::resize_file(path / "case.json", std::uintmax_t{1} << 32);
        refused(path / "case.json", {"4294967296 bytes", "at most 1048576"});
    }

    if (!std::filesystem::exists(path)) write_case(path, small_case());
    SECTION("a bad case.json, named by path") {
        write_text(path / "case.json", "{}");
        refused(path / "case.json", {"no mechanism"});
    }
    SECTION("a bad param, named by path") {
        const Case value = read_case(path);
        check_message(refusal([&] { value.params.integer("window", 1, 2); }), (path / "case.json").string(),
                      {"no params.window"});
    }
    SECTION("a bad input") {
        write_text(path / "hidden.npy", "x");
        refused(path / "hidden.npy", {"\"x\"", "a .npy file"});
    }
    SECTION("an input that is a folder") {
        std::filesystem::create_directories(path / "k.npy");
        refused(path / "k.npy", {"a folder", "a .npy file"});
    }
    SECTION("a bad expected output") {
        write_text(path / "expected" / "out.npy", "x");
        refused(path / "expected" / "out.npy", {"\"x\"", "a .npy file"});
    }
    SECTION("an expected that is a file") {
        std::filesystem::remove_all(path / "expected");
        write_text(path / "expected", "");
        refused(path / "expected", {"not a folder", "a folder of the expected outputs"});
    }
    SECTION("an expected that is a link to nothing") {
        std::filesystem::remove_all(path / "expected");
        std::filesystem::create_symlink("nowhere", path / "expected");
        refused(path / "expected", {"not a folder", "a folder of the expected outputs"});
    }
    SECTION("an expected without any output, with which every run would agree") {
        std::filesystem::remove_all(path / "expected");
        std::filesystem::create_directories(path / "expected");
        refused(path / "expected", {"no .npy file", "at least one expected output"});
    }
    SECTION("an unreadable folder") {
        std::filesystem::permissions(path, std::filesystem::perms::none);
        if (geteuid() == 0) WARN("not run as root, who may read everything");
        if (geteuid() != 0) refused(path / "case.json", {"Permission denied", "a case.json file"});
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    }
}

TEST_CASE("case: other files in the folder are ignored", "[case]") {
    const TemporaryFolder folder;
    const Case value = small_case();
    write_case(folder.path, value);
    write_text(folder.path / "README.md", "x");
    write_text(folder.path / ".hidden.npy.7.partial", "x");
    write_text(folder.path / ".hidden.npy", "x");
    write_text(folder.path / "expected" / "notes.txt", "x");
    std::filesystem::create_directories(folder.path / "plots" / "more.npy");
    const Case read = read_case(folder.path);
    CHECK(read.inputs == value.inputs);
    CHECK(read.expected == value.expected);
}

TEST_CASE("case: what would not be read back is not written", "[case]") {
    const TemporaryFolder folder;
    Case value = small_case();
    const auto check_failure = [&](const std::string& part) {
        std::string message = "(written)";
        try {
            write_case(folder.path, value);
        } catch (const std::runtime_error& error) {
            message = error.what();
        }
        INFO(message);
        CHECK(message.find("cannot write") == 0);
        CHECK(message.find(part) != std::string::npos);
    };
    SECTION("a tensor whose name leads out of the folder") {
        value.inputs["../q"] = zeros(DType::float32, {1});
        check_failure("\"../q\"");
    }
    SECTION("a name that no tensor can have") {
        for (const std::string& name : {std::string(), std::string("a/b"), std::string(".q"), std::string("a\0b", 3)}) {
            value = small_case();
            value.inputs[name] = zeros(DType::float32, {1});
            check_failure("expected a plain file name");
        }
    }
    SECTION("a tensor of an earlier case") {
        write_npy(folder.path / "old.npy", zeros(DType::float32, {1}));
        check_failure("old.npy, which is not part of the case");
    }
    SECTION("expected outputs of an earlier case") {
        write_case(folder.path, value);
        value.expected.clear();
        check_failure("has_expected contradicts");
        value.has_expected = false;
        check_failure("expected/, which is not part of the case");
    }
    SECTION("an origin that is not UTF-8") {
        value.origin = "\xff";
        check_failure("not UTF-8");
    }
    SECTION("a folder that cannot be") {
        write_text(folder.path / "expected", "");
        check_failure(folder.path.string());
    }
}

TEST_CASE("case.json: a damaged one is parsed or refused, nothing else", "[case]") {
    constexpr unsigned seed = 20240612;
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::string valid = format_case_json(small_case());
    for (int trial = 0; trial < 5000; ++trial) {
        std::string text = valid;
        for (std::size_t changes = random() % 4 + 1; changes > 0; --changes) {
            text[random() % text.size()] ^= static_cast<char>(1 << random() % 8);
        }
        if (random() % 4 == 0) text.resize(random() % text.size());
        try {
            const Case value = parse_case_json(text, "case.json");
            const Case again = parse_case_json(format_case_json(value), "again");
            CHECK(again.params.json() == value.params.json());
            CHECK(again.mechanism == value.mechanism);
        } catch (const BadCase& error) {
            CHECK(std::string(error.what()).find('\n') == std::string::npos);
        }
    }
}

TEST_CASE("nearest: a misspelling finds its word, anything else finds nothing", "[nearest]") {
    const std::vector<std::string> names = {"causal", "scale", "window", "page", "k", "top_k"};
    CHECK(nearest("casual", names) == "causal");
    CHECK(nearest("widow", names) == "window");
    CHECK(nearest("pgae", names) == "page");  // neighbours swapped count as one
    CHECK(nearest("topk", names) == "top_k");
    CHECK(nearest("scale", names) == "scale");
    CHECK(nearest("q", names).empty());  // another letter is no misspelling of "k"
    CHECK(nearest("heads", names).empty());
    CHECK(nearest("", names).empty());
    CHECK(nearest(std::string(1 << 20, 'x'), names).empty());
    CHECK(nearest("casual", {}).empty());
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("ab", "ba") == 1);
}
