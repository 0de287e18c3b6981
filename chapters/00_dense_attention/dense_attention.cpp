// Makes dense attention known to the program.
#include "chapters/00_dense_attention/dense_attention.hpp"

#include <fmt/format.h>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::dense {
namespace {

struct Description {
    static constexpr const char* name = "dense";
    static constexpr const char* section = "19.2, 19.3";
    static constexpr const char* chapter = "00_dense_attention";
    template <class T>
    using Inputs = dense::Inputs<T>;
    template <class T>
    using Outputs = dense::Outputs<T>;
    using Options = dense::Options;
    using CudaFunction = dense::CudaFunction;

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
            dense::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options.causal, scalar_bytes);
    }
};

Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    return random_case("dense", n, {{"q", shape}, {"k", shape}, {"v", shape}});
}

// Queries four times as long as the keys: the softmax then finds one key among hundreds.
std::vector<RecallEntry> recall_entries() {
    constexpr int D = 32;
    return {{"softmax, D = 32",
             D,
             {4},
             [](int pairs) { return std::int64_t{pairs} * (D + recall_value_dim); },
             false,
             [](Case&, std::uint64_t) {}}};
}

// Small enough for paper and pencil: q is 2 on its diagonal, k the unit matrix, so that query i scores key i with 2,
// the others with 0; scale 1/2 makes that 1. Causal: query i sees keys 0 … i.
void trace() {
    constexpr int n = 4;
    auto q = make_tensor<double, 4>({1, 1, n, n}), k = q, v = make_tensor<double, 4>({1, 1, n, 2});
    for (int i = 0; i < n; ++i) {
        q(0, 0, i, i) = 2, k(0, 0, i, i) = 1;
        v(0, 0, i, 0) = i + 1, v(0, 0, i, 1) = i % 2;
    }
    auto out = make_tensor<double, 4>({1, 1, n, 2});
    auto log_sum_exp = make_tensor<double, 3>({1, 1, n});
    Inputs<double> inputs{view(std::as_const(q)), view(std::as_const(k)), view(std::as_const(v)), {}};
    Outputs<double> outputs{view(out), view(log_sum_exp), {}, {}, {}};
    fmt::print(
        "Dense attention, 4 queries and 4 keys, causal, scale 1/2 (book 19.3)\n"
        "chapters/00_dense_attention/dense_attention_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    naive_forward(inputs, Options{true, 0.5}, outputs, print);
    print("log_sum_exp of each row", view(std::as_const(log_sum_exp)).slice(0, 0));
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::dense
