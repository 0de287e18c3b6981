// Any text at all as a case.json: parsed or refused with one line, and what parses survives being written. Every getter
// is asked for every param of the fixed names below, which the seeds use.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/tensor/case.hpp"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

/// Runs `action`, which may refuse the case in one printable line.
template <class Action>
void refusable(Action action) {
    try {
        action();
    } catch (const attn::BadCase& error) {
        require(std::string_view(error.what()).starts_with("case.json: found "));
        for (const char* letter = error.what(); *letter != '\0'; ++letter) require(*letter >= ' ' && *letter <= '~');
    }
}

void ask_everything(const attn::Params& params) {
    for (const char* name : {"scale", "window", "form", "causal", "tolerance"}) {
        refusable([&] { params.boolean(name, false); });
        refusable([&] { require(std::isfinite(params.number(name).value_or(0))); });
        refusable([&] {
            const std::int64_t value = params.integer(name, -3, 1000, 0);
            require(value >= -3 && value <= 1000);
        });
        refusable([&] { require(!params.choice(name, {"expanded", "absorbed"}, "expanded").empty()); });
        refusable([&] { params.integers(name); });
    }
    for (const char* dtype : {"float64", "float32", "float16", "bfloat16"}) {
        require(params.tolerance(dtype).value_or(1) > 0);
    }
    refusable([&] { params.refuse_others({"scale", "window", "form", "causal"}); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    refusable([&] {
        const attn::Case value = attn::parse_case_json(text, "case.json");
        ask_everything(value.params);
        const attn::Case again = attn::parse_case_json(attn::format_case_json(value), "again.json");
        require(again.mechanism == value.mechanism);
        require(again.origin == value.origin);
        require(again.params.json() == value.params.json());
    });
    return 0;
}
