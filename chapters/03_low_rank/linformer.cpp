// Makes Linformer known to the program.
#include "chapters/03_low_rank/linformer.hpp"

#include <fmt/format.h>

#include "chapters/03_low_rank/linformer_naive.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::linformer {
namespace {

struct Description {
    static constexpr const char* name = "linformer";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "03_low_rank";
    template <class T>
    using Inputs = linformer::Inputs<T>;
    template <class T>
    using Outputs = linformer::Outputs<T>;
    using Options = linformer::Options;
    using CudaFunction = linformer::CudaFunction;

    static std::vector<std::string> params() { return {"causal", "scale"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        if (params.boolean("causal", false))
            throw BadCase("case.json", "\"causal\": true",
                          "false: each slot is a mix of all positions, so that a query which sees it sees the later "
                          "ones too; there is no causal form");
        return {params.number("scale").value_or(1 / std::sqrt(in.sizes().D))};
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_shapes(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        linformer::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options&, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), scalar_bytes);
    }
};

// 16 slots, whatever n.
Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16}, projection{16, n};
    Case result = random_case(
        "linformer", n,
        {{"q", shape}, {"k", shape}, {"v", shape}, {"key_projection", projection}, {"value_projection", projection}});
    // A sum of n products then has the variance of one number of k or v, at every n.
    for (const char* name : {"key_projection", "value_projection"}) {
        Array& array = result.inputs[name];
        for (std::int64_t index = 0; index < array.count(); ++index)
            array.data<float>()[index] /= std::sqrt(static_cast<float>(n));
    }
    return result;
}

// Random projections, the same for keys and values: nothing is trained.
std::vector<RecallEntry> recall_entries() {
    constexpr int D = 32, K = 32;
    return {{"Linformer, 32 random slots",
             D,
             {0.25, 1, 4},
             [](int) { return std::int64_t{K} * (D + recall_value_dim); },
             false,
             [](Case& question, std::uint64_t seed) {
                 const std::int64_t pairs = question.inputs["k"].shape[2];
                 Array projection = random_array({K, pairs}, 1000 + seed);
                 for (std::int64_t index = 0; index < projection.count(); ++index)
                     projection.data<float>()[index] /= std::sqrt(static_cast<float>(K));
                 question.inputs["key_projection"] = question.inputs["value_projection"] = projection;
             }}};
}

// Small enough for paper and pencil: each slot has the mean of two neighbouring keys; q is (1, 0) and (0, 1), so that
// query 0 scores a slot by its first number and query 1 by its second. The first column of the values is 1: what
// becomes of it are the sums of the rows of F, 2 and 1.
void trace() {
    // clang-format off
    const double q[] = {1, 0,    0, 1};
    const double k[] = {0, 2,    2, 0,    3, 0,    1, 2};
    const double v[] = {1, 0,    1, 1,    1, 2,    1, 3};
    const double E[] = {0.5, 0.5, 0, 0,
                        0, 0, 0.5, 0.5};
    const double F[] = {1, 1, 0, 0,
                        0, 0, 0, 1};
    // clang-format on
    auto out = make_tensor<double, 4>({1, 1, 2, 2});
    const Inputs<double> inputs{
        {q, {{1, 1, 2, 2}}}, {k, {{1, 1, 4, 2}}}, {v, {{1, 1, 4, 2}}}, {E, {{2, 4}}}, {F, {{2, 4}}}, {}, {}};
    fmt::print(
        "Linformer, 2 queries, 4 keys in 2 slots, scale 1 (book 19.4, family 3)\n"
        "chapters/03_low_rank/linformer_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    print("E, the projection of the keys", inputs.E(0));
    print("F, the projection of the values", inputs.F(0));
    linformer::naive(inputs, Options{1}, Outputs<double>{view(out)}, print);
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::linformer
