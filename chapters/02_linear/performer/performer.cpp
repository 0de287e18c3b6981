// Makes Performer known to the program.
#include "chapters/02_linear/performer/performer.hpp"

#include <fmt/format.h>

#include "chapters/02_linear/performer/performer_naive.hpp"
#include "chapters/02_linear/performer/random_features.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::performer {
namespace {

struct Description {
    static constexpr const char* name = "performer";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "02_linear";
    template <class T>
    using Inputs = performer::Inputs<T>;
    template <class T>
    using Outputs = performer::Outputs<T>;
    using Options = performer::Options;
    using CudaFunction = performer::CudaFunction;

    static std::vector<std::string> params() { return {"causal"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>&) {
        return {params.boolean("causal", false)};
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        check_shapes(in, options);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        performer::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options&, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), scalar_bytes);
    }
};

// W as a case has it.
Array features_array(int M, int D, std::uint64_t seed) {
    const Tensor<double, 2> w = orthogonal_features(M, D, seed);
    Array array = zeros(DType::float32, {M, D});
    convert(w.data(), array.data<float>(), array.count());
    return array;
}

Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    Case sized = random_case("performer", n, {{"q", shape}, {"k", shape}, {"v", shape}});
    sized.inputs["features"] = features_array(32, 16, 1);
    return sized;
}

// The longer a query, the sharper the softmax that is estimated, and the larger the variance of the estimate.
std::vector<RecallEntry> recall_entries() {
    constexpr int D = 32;
    std::vector<RecallEntry> entries;
    for (int M : {32, 256})
        entries.push_back({fmt::format("Performer, {} features, D = 32", M),
                           D,
                           {0.25, 0.5, 1, 2},
                           [M](int) { return std::int64_t{M} * (recall_value_dim + 2); },
                           false,
                           [M](Case& question, std::uint64_t seed) {
                               question.inputs["features"] = features_array(M, D, 1000 + seed);
                           }});
    return entries;
}

// Small enough for paper and pencil: D = 1, so that D^(1/4) is 1, and two features, 1 and -1.
void trace() {
    const double q[] = {0, 1, 1}, k[] = {0, 2, -2}, w[] = {1, -1};
    const double v[] = {1, 0, 1, 1, 1, 2};
    auto out = make_tensor<double, 4>({1, 1, 3, 2});
    const Inputs<double> inputs{{q, {{1, 1, 3, 1}}}, {k, {{1, 1, 3, 1}}}, {v, {{1, 1, 3, 2}}}, {w, {{2, 1}}}};
    fmt::print(
        "Performer, 3 positions, causal, 2 features, w = 1 and -1 (book 19.4, family 2)\n"
        "chapters/02_linear/performer/performer_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    naive(inputs, Options{true}, Outputs<double>{view(out)}, print);
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::performer
