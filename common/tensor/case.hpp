// Cases: a folder of .npy files and one case.json, the only way that tensors enter or leave a program of this project.
//
//   some_case/
//     case.json            {"mechanism": "dense", "params": {"causal": true}, "origin": "who computed expected/"}
//     q.npy k.npy v.npy    the inputs
//     expected/out.npy     optional: what the outputs must be
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/tensor/npy.hpp"

namespace attn {

/// The "params" of a case.json. Each getter throws BadCase, naming file, param, found and expected, when the value is
/// not of its kind; a param that is absent gives the fallback. Nothing is converted: neither 4.0 nor "4" nor true is an
/// integer.
class Params {
  public:
    /// No params at all.
    Params();

    /// From the text of a JSON object; `file` is what messages call it. Throws BadCase.
    static Params parse(std::string_view json, std::string file = "case.json");

    /// Whether the param is there, be it null.
    bool has(std::string_view name) const;

    bool boolean(std::string_view name, bool fallback) const;

    /// A finite number; nothing when the param is null or absent.
    std::optional<double> number(std::string_view name) const;

    /// An integer in minimum...maximum. Without a fallback the param is required.
    std::int64_t integer(std::string_view name, std::int64_t minimum, std::int64_t maximum,
                         std::optional<std::int64_t> fallback = std::nullopt) const;

    /// One of the `allowed` words. Without a fallback the param is required.
    std::string choice(std::string_view name, const std::vector<std::string>& allowed,
                       std::optional<std::string_view> fallback = std::nullopt) const;

    /// A list of integers; empty when the param is absent.
    std::vector<std::int64_t> integers(std::string_view name) const;

    /// The bound that the case sets for runs in "float64", "float32", "float16" or "bfloat16"; nothing when it sets
    /// none. It is one positive number for all or an object of numbers by dtype, and is checked when the case is read.
    std::optional<double> tolerance(std::string_view dtype_name) const;

    /// Refuses every param that is neither "tolerance" nor among `allowed`, and suggests the nearest that is.
    void refuse_others(const std::vector<std::string>& allowed) const;

    /// The JSON object on one line, keys sorted: equal text means equal params.
    std::string json() const;

    struct Values;  // keeps the JSON library, slow to compile, out of this header

    /// For case.cpp, where Values is known: an object whose tolerance is checked here.
    Params(std::shared_ptr<const Values> values, std::string file);

  private:
    std::shared_ptr<const Values> values_;
    std::string file_;
};

struct Case {
    std::filesystem::path folder;
    std::string mechanism;
    Params params;
    std::string origin;
    std::map<std::string, Array> inputs;    // q.npy is "q"
    std::map<std::string, Array> expected;  // expected/out.npy is "out"
    bool has_expected = false;
};

/// Mechanism, params and origin from the text of a case.json; `file` is what messages call it. Throws BadCase.
Case parse_case_json(std::string_view text, std::string_view file);

/// The text of a case.json, indented. Throws std::runtime_error when mechanism or origin is not UTF-8.
std::string format_case_json(const Case& value);

/// Reads a case. Hidden files and files that are not .npy are ignored; which tensors there must and may be is for the
/// mechanism to check. Throws BadCase.
Case read_case(const std::filesystem::path& folder);

/// Writes case.json, the inputs and, where `has_expected`, expected/, creating folders as needed; `value.folder` is
/// ignored. Throws std::runtime_error when a file cannot be written, a name cannot be a file's, has_expected
/// contradicts `expected`, or the folder already holds something else that would become part of the case.
void write_case(const std::filesystem::path& folder, const Case& value);

}  // namespace attn
