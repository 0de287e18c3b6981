// Makes BigBird's attention known to the program.
#include "chapters/01_fixed_sparse/bigbird/bigbird.hpp"

#include <fmt/format.h>

#include "chapters/01_fixed_sparse/bigbird/bigbird_naive.hpp"
#include "chapters/01_fixed_sparse/bigbird/random_blocks.hpp"
#include "chapters/01_fixed_sparse/picture.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::bigbird {
namespace {

struct Description {
    static constexpr const char* name = "bigbird";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "01_fixed_sparse";
    template <class T>
    using Inputs = bigbird::Inputs<T>;
    template <class T>
    using Outputs = bigbird::Outputs<T>;
    using Options = bigbird::Options;
    using CudaFunction = bigbird::CudaFunction;

    static std::vector<std::string> params() { return {"block", "scale"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        return {static_cast<int>(params.integer("block", 1, std::numeric_limits<int>::max())),
                params.number("scale").value_or(1 / std::sqrt(in.sizes().D))};
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        check_inputs(in, options);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        bigbird::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in, options, scalar_bytes);
    }
};

// Blocks of 8 and two random ones in each row, whatever n. (n rounded up to whole blocks.)
Case sized_case(int n) {
    constexpr int block = 8, r = 2;
    const int blocks = (n + block - 1) / block;
    const std::vector<std::int64_t> shape{1, 1, blocks * block, 16};
    Case result = random_case("bigbird", n, {{"q", shape}, {"k", shape}, {"v", shape}});
    result.params = Params::parse(fmt::format(R"({{"block": {}}})", block));
    Array random = zeros(DType::int64, {1, blocks, r});
    const std::vector<std::int64_t> drawn = draw_random_blocks(1, blocks, r, 1);
    std::copy(drawn.begin(), drawn.end(), random.data<std::int64_t>());
    result.inputs["random_blocks"] = random;
    return result;
}

// Small enough for paper and pencil: all scores are 0, so that out is the mean position of what a query sees.
void trace() {
    constexpr int n = 16, block = 2, r = 1;
    const auto q = make_tensor<double, 4>({1, 1, n, 1}), k = q;
    auto v = q, out = q;
    for (int j = 0; j < n; ++j) v(0, 0, j, 0) = j;
    const std::vector<std::int64_t> random = draw_random_blocks(1, n / block, r, 3);
    const Inputs<double> inputs{{view(q), view(k), view(std::as_const(v))}, {random.data(), {{1, n / block, r}}}};
    const Options options{block, 1};
    fmt::print(
        "BigBird, 8 blocks of 2 positions, 1 random block for each, scale 1 (book 19.4, family 1)\n"
        "chapters/01_fixed_sparse/bigbird/bigbird_naive.hpp at the tags in brackets\n\n"
        "random blocks, row by row, -1 for none:");
    for (std::int64_t drawn : random) fmt::print(" {}", drawn);
    fmt::print("\n\n[19.4.1-1] the keys that a query sees: a row for each query, a column for each key\n{}\n",
               fixed_sparse::terminal_picture(pattern(inputs, options), 0, n, n));
    fmt::print("all scores are 0, the values are the positions: the mean position that each query sees\n\n");
    bigbird::naive(inputs, options, Outputs<double>{view(out)});
    TracePrinter{}("[19.4.1-4] out, all queries", TensorView<const double, 1>(out.data(), {{n}}));
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::bigbird
