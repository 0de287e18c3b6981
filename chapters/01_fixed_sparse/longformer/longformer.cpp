// Makes Longformer's attention known to the program.
#include "chapters/01_fixed_sparse/longformer/longformer.hpp"

#include <fmt/format.h>

#include "chapters/01_fixed_sparse/longformer/longformer_naive.hpp"
#include "chapters/01_fixed_sparse/picture.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::longformer {
namespace {

struct Description {
    static constexpr const char* name = "longformer";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "01_fixed_sparse";
    template <class T>
    using Inputs = longformer::Inputs<T>;
    template <class T>
    using Outputs = longformer::Outputs<T>;
    using Options = longformer::Options;
    using CudaFunction = longformer::CudaFunction;

    static std::vector<std::string> params() { return {"radius", "dilation", "global_tokens", "causal", "scale"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        Options options;
        options.radius = static_cast<int>(params.integer("radius", 0, std::numeric_limits<int>::max()));
        options.dilation = static_cast<int>(params.integer("dilation", 1, std::numeric_limits<int>::max(), 1));
        const int N = in.sizes().N;
        for (std::int64_t token : params.integers("global_tokens")) {
            const std::string found = fmt::format("{} in params.global_tokens", token);
            if (token < 0 || token >= N) throw BadCase("case.json", found, fmt::format("positions, 0 … {}", N - 1));
            if (is_global(options, static_cast<int>(token)))
                throw BadCase("case.json", found + " twice", "each position once");
            options.global_tokens.push_back(static_cast<int>(token));
        }
        options.causal = params.boolean("causal", false);
        options.scale = params.number("scale").value_or(1 / std::sqrt(in.sizes().D));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_shapes(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        longformer::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

// A radius of 8 and one global token, whatever n.
Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    Case result = random_case("longformer", n, {{"q", shape}, {"k", shape}, {"v", shape}, {"q_global", shape}});
    result.params = Params::parse(R"({"radius": 8, "global_tokens": [0]})");
    return result;
}

// Small enough for paper and pencil: all scores are 0, so that out is the mean position of what a query sees; the
// global values are 10 more.
void trace() {
    constexpr int n = 8;
    const auto q = make_tensor<double, 4>({1, 1, n, 1}), k = q;
    auto v = q, v_global = q, out = q;
    for (int j = 0; j < n; ++j) v(0, 0, j, 0) = j, v_global(0, 0, j, 0) = 10 + j;
    const Inputs<double> inputs{{view(q), view(k), view(std::as_const(v))}, {}, {}, view(std::as_const(v_global))};
    const Options options{1, 1, {2}, false, 1};
    const fixed_sparse::GlobalTokens global(options.global_tokens, n);
    fmt::print(
        "Longformer, 8 positions, w = 1 (to both sides, the own one not counted), token 2 global, scale 1\n"
        "(book 19.4, family 1)\n"
        "chapters/01_fixed_sparse/longformer/longformer_naive.hpp at the tags in brackets\n\n");
    fmt::print("[19.4.1-1] the keys that a query sees: a row for each query, a column for each key\n{}\n",
               fixed_sparse::terminal_picture(pattern(n, options, global), 0, n, n));
    fmt::print("[19.4.1-8] tiles of 2 x 2: █ full, ▒ partial, · not visited; of the other tokens' rows\n{}\n",
               fixed_sparse::terminal_tiles(fixed_sparse::LongformerLocal(pattern(n, options, global)), n, n, {2, 2}));
    longformer::naive(inputs, options, Outputs<double>{view(out)});
    fmt::print(
        "all scores are 0, the values are the positions: the mean position that each query sees;\n"
        "[19.4.1-7] the values for global rows are 10 more\n\n");
    TracePrinter{}("[19.4.1-4] out, all queries", TensorView<const double, 1>(out.data(), {{n}}));
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::longformer
