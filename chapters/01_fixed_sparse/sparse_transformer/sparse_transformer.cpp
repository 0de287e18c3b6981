// Makes the Sparse Transformer's attention known to the program.
#include "chapters/01_fixed_sparse/sparse_transformer/sparse_transformer.hpp"

#include <fmt/format.h>

#include "chapters/01_fixed_sparse/picture.hpp"
#include "chapters/01_fixed_sparse/sparse_transformer/sparse_transformer_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::sparse_transformer {
namespace {

struct Description {
    static constexpr const char* name = "sparse_transformer";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "01_fixed_sparse";
    template <class T>
    using Inputs = sparse_transformer::Inputs<T>;
    template <class T>
    using Outputs = sparse_transformer::Outputs<T>;
    using Options = sparse_transformer::Options;
    using CudaFunction = sparse_transformer::CudaFunction;

    static std::vector<std::string> params() { return {"pattern", "stride", "summary", "part", "scale"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        Options options;
        options.kind = params.choice("pattern", {"strided", "fixed"}) == "fixed" ? Kind::fixed : Kind::strided;
        options.stride = static_cast<int>(params.integer("stride", 1, std::numeric_limits<int>::max()));
        if (options.kind == Kind::fixed)
            options.summary = static_cast<int>(params.integer("summary", 1, options.stride));
        else if (params.has("summary"))
            throw BadCase("case.json", "params.summary with \"pattern\": \"strided\"",
                          "none: only the blocks of \"fixed\" have a summary");
        const std::string part = params.choice("part", {"merged", "first", "second"}, "merged");
        options.part = part == "first" ? Part::first : part == "second" ? Part::second : Part::merged;
        options.scale = params.number("scale").value_or(1 / std::sqrt(in.sizes().D));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_shapes(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        sparse_transformer::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

// Strided, with a stride of √n.
Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    Case result = random_case("sparse_transformer", n, {{"q", shape}, {"k", shape}, {"v", shape}});
    const int stride = static_cast<int>(std::lround(std::sqrt(n)));
    result.params = Params::parse(fmt::format(R"({{"pattern": "strided", "stride": {}}})", stride));
    return result;
}

// Small enough for paper and pencil: all scores are 0, so that out is the mean position of what a query sees.
void trace() {
    constexpr int n = 8;
    const auto q = make_tensor<double, 4>({1, 1, n, 1}), k = q;
    auto v = q, out = q;
    for (int j = 0; j < n; ++j) v(0, 0, j, 0) = j;
    const Inputs<double> inputs{view(q), view(k), view(std::as_const(v))};
    fmt::print(
        "Sparse Transformer, 8 positions, stride 3, scale 1 (book 19.4, family 1)\n"
        "chapters/01_fixed_sparse/sparse_transformer/sparse_transformer_naive.hpp at the tags in brackets\n\n"
        "[19.4.1-1] the keys that a query sees: a row for each query, a column for each key\n\n");
    for (Kind kind : {Kind::strided, Kind::fixed})
        for (Part part : {Part::first, Part::second, Part::merged}) {
            const Options options{kind, 3, 1, part, 1};
            fmt::print("{}, {}\n{}\n", kind == Kind::strided ? "strided" : "fixed, a summary of 1",
                       part == Part::first    ? "first part"
                       : part == Part::second ? "second part"
                                              : "merged",
                       fixed_sparse::terminal_picture(pattern(n, options), 0, n, n));
        }
    sparse_transformer::naive(inputs, {Kind::strided, 3, 1, Part::merged, 1}, Outputs<double>{view(out)});
    fmt::print(
        "strided, merged; all scores are 0, the values are the positions: the mean position that each query "
        "sees\n\n");
    TracePrinter{}("[19.4.1-4] out, all queries", TensorView<const double, 1>(out.data(), {{n}}));
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::sparse_transformer
