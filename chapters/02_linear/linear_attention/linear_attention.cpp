// Makes linear attention known to the program.
#include "chapters/02_linear/linear_attention/linear_attention.hpp"

#include <fmt/format.h>

#include "chapters/02_linear/linear_attention/linear_attention_naive.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::linear_attention {
namespace {

struct Description {
    static constexpr const char* name = "linear_attention";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "02_linear";
    template <class T>
    using Inputs = linear_attention::Inputs<T>;
    template <class T>
    using Outputs = linear_attention::Outputs<T>;
    using Options = linear_attention::Options;
    using CudaFunction = linear_attention::CudaFunction;

    static std::vector<std::string> params() {
        return {"feature_map", "causal", "normalize", "epsilon", "form", "chunk"};
    }

    template <class T>
    static Options options(const Params& params, const Inputs<T>&) {
        Options options;
        if (params.choice("feature_map", {"elu_plus_one", "identity"}, "elu_plus_one") == "identity")
            options.feature_map = FeatureMap::identity;
        options.causal = params.boolean("causal", false);
        options.normalize = params.boolean("normalize", true);
        options.epsilon = params.number("epsilon").value_or(0);
        const std::string form = params.choice("form", {"recurrent", "chunked", "quadratic"}, "recurrent");
        options.form = form == "chunked" ? Form::chunked : form == "quadratic" ? Form::quadratic : Form::recurrent;
        if (params.has("chunk"))
            options.chunk = static_cast<int>(params.integer("chunk", 1, std::numeric_limits<int>::max()));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        check_shapes(in, options);
    }
    static void check_cuda(const Case& input_case) {
        if (input_case.inputs.count("d_out"))
            throw BadCase((input_case.folder / "d_out.npy").string(), "d_out",
                          "no d_out: the CUDA versions have no backward pass; the naive one has (--impl naive)");
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        if constexpr (std::is_same_v<T, Counted>)
            naive_forward(in, options, out);  // the table's costs are those of the forward pass
        else
            linear_attention::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    return random_case("linear_attention", n, {{"q", shape}, {"k", shape}, {"v", shape}});
}

// With φ the identity and no denominator, a query of length √D / D makes its own key weigh 1.
std::vector<RecallEntry> recall_entries() {
    std::vector<RecallEntry> entries;
    for (int D : {16, 32, 64})
        entries.push_back({fmt::format("linear, identity, D = {}", D),
                           D,
                           {1.0 / D},
                           [D](int) { return std::int64_t{D} * recall_value_dim; },
                           true,
                           [](Case& question, std::uint64_t) {
                               question.params =
                                   Params::parse(R"({"feature_map": "identity", "normalize": false})", "recall");
                           }});
    for (int D : {32, 64})
        entries.push_back({fmt::format("linear, elu + 1, D = {}", D),
                           D,
                           {1, 2, 4, 8},
                           [D](int) { return std::int64_t{D} * (recall_value_dim + 1); },
                           false,
                           [](Case&, std::uint64_t) {}});
    return entries;
}

// Small enough for paper and pencil: keys of 0 and 1, whose features are 1 and 2, so that z stays whole. Values are 1
// and the position: the first column of S equals z, the second of out is the mean position.
void trace() {
    // clang-format off
    const double q[] = {1, 0,    0, 1,    0, 0};
    const double k[] = {1, 0,    0, 1,    0, 0};
    const double v[] = {1, 0,    1, 1,    1, 2};
    // clang-format on
    auto out = make_tensor<double, 4>({1, 1, 3, 2}), state = make_tensor<double, 4>({1, 1, 2, 2});
    auto normalizer = make_tensor<double, 3>({1, 1, 2});
    Inputs<double> inputs;
    inputs.q = {q, {{1, 1, 3, 2}}}, inputs.k = {k, {{1, 1, 3, 2}}}, inputs.v = {v, {{1, 1, 3, 2}}};
    Outputs<double> outputs;
    outputs.out = view(out), outputs.state = view(state), outputs.normalizer = view(normalizer);
    fmt::print(
        "Linear attention, 3 positions, causal, φ = elu + 1: φ(0) = 1, φ(1) = 2 (book 19.4, family 2)\n"
        "chapters/02_linear/linear_attention/linear_attention_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    naive_forward(inputs, Options{.causal = true}, outputs, print);
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::linear_attention
