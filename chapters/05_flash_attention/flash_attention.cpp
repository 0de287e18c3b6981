// Makes FlashAttention known to the program.
#include "chapters/05_flash_attention/flash_attention.hpp"

#include <fmt/format.h>

#include "chapters/05_flash_attention/flash_attention_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::flash_attention {
namespace {

struct Description {
    static constexpr const char* name = "flash_attention";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "05_flash_attention";
    template <class T>
    using Inputs = flash_attention::Inputs<T>;
    template <class T>
    using Outputs = flash_attention::Outputs<T>;
    using Options = flash_attention::Options;
    using CudaFunction = flash_attention::CudaFunction;

    static std::vector<std::string> params() { return {"causal", "scale"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        return {params.boolean("causal", false), params.number("scale").value_or(1 / std::sqrt(in.sizes().D))};
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_shapes(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        if constexpr (std::is_same_v<T, Counted>)
            naive_forward(in, options, out);  // the table's costs are those of the forward pass
        else
            flash_attention::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    return random_case("flash_attention", n, {{"q", shape}, {"k", shape}, {"v", shape}});
}

// Small enough for paper and pencil: q is (1, 0) and (0, 1), so that query 0 scores each key by its first number and
// query 1 by its second. For query 0 the largest score comes with the second tile, for query 1 with the first. The
// values are 1 and the key's position: the first column of O is l, the second of out the mean position.
void trace() {
    // clang-format off
    const double q[] = {1, 0,    0, 1};
    const double k[] = {0, 2,    1, 1,    3, 0,    2, 1};
    const double v[] = {1, 0,    1, 1,    1, 2,    1, 3};
    // clang-format on
    auto out = make_tensor<double, 4>({1, 1, 2, 2});
    auto log_sum_exp = make_tensor<double, 3>({1, 1, 2});
    const Inputs<double> inputs{{q, {{1, 1, 2, 2}}}, {k, {{1, 1, 4, 2}}}, {v, {{1, 1, 4, 2}}}, {}};
    const Outputs<double> outputs{view(out), view(log_sum_exp), {}, {}, {}};
    fmt::print(
        "FlashAttention, 2 queries and 4 keys in two tiles of 2, scale 1 (book 19.4, family 5)\n"
        "chapters/05_flash_attention/flash_attention_naive_forward.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    naive_forward(inputs, Options{false, 1}, outputs, Tiles{2, 2}, print);
    print("log_sum_exp = m + log l of each row", view(std::as_const(log_sum_exp)).slice(0, 0));
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::flash_attention
