// Makes Mamba known to the program.
#include "chapters/07_beyond_attention/mamba/mamba.hpp"

#include <fmt/format.h>

#include "chapters/07_beyond_attention/mamba/mamba_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::mamba {
namespace {

struct Description {
    static constexpr const char* name = "mamba";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "07_beyond_attention";
    template <class T>
    using Inputs = mamba::Inputs<T>;
    template <class T>
    using Outputs = mamba::Outputs<T>;
    using Options = mamba::Options;
    using CudaFunction = mamba::CudaFunction;

    static std::vector<std::string> params() { return {"norm_epsilon", "prefill"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        Options options;
        options.norm_epsilon = params.number("norm_epsilon").value_or(options.norm_epsilon);
        if (params.has("prefill"))
            options.prefill = static_cast<int>(params.integer("prefill", 1, in.hidden.extent(1)));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_weights(in.weights, in.hidden.extent(2));
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        mamba::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in, options, scalar_bytes);
    }
};

// In the proportions of the released models, and small: twice as many channels as hidden has numbers, 16 numbers of
// state for each, 4 tokens in the convolution.
Case sized_case(int n) {
    constexpr int Dm = 4, Di = 2 * Dm, S = 16, W = 4, R = 1;
    Case sized = random_case("mamba", n,
                             {{"hidden", {1, n, Dm}},
                              {"in_proj", {2 * Di, Dm}},
                              {"conv_weight", {Di, W}},
                              {"conv_bias", {Di}},
                              {"x_proj", {R + 2 * S, Di}},
                              {"dt_proj", {Di, R}},
                              {"dt_bias", {Di}},
                              {"a_log", {Di, S}},
                              {"d", {Di}},
                              {"out_proj", {Dm, Di}}});
    Array& a_log = sized.inputs["a_log"];  // A = -1, -2, …, as before training
    for (int index = 0; index < Di * S; ++index)
        a_log.data<float>()[index] = std::log(1.0f + static_cast<float>(index % S));
    return sized;
}

// Small enough to follow with a pocket calculator: one channel, one number of state, a convolution over two tokens. The
// third token is a decode step: it finds the state that the first two have left.
void trace() {
    const double hidden[] = {1, 2, -1}, in_proj[] = {1, 1}, conv_weight[] = {0.5, 1}, zero[] = {0}, one[] = {1};
    const double x_proj[] = {1, 1, 1};
    Inputs<double> in;
    in.hidden = {hidden, {{1, 3, 1}}};
    in.weights.in_proj = {in_proj, {{2, 1}}}, in.weights.conv_weight = {conv_weight, {{1, 2}}};
    in.weights.conv_bias = {zero, {{1}}}, in.weights.x_proj = {x_proj, {{3, 1}}};
    in.weights.dt_proj = {one, {{1, 1}}}, in.weights.dt_bias = {zero, {{1}}};
    in.weights.a_log = {zero, {{1, 1}}}, in.weights.d = {one, {{1}}}, in.weights.out_proj = {one, {{1, 1}}};
    auto out = make_tensor<double, 3>({1, 3, 1});
    fmt::print(
        "Mamba, 3 positions, one channel with one number of state, a convolution over 2 tokens, all weights 1 but the\n"
        "earlier token's, 1/2 (book 19.4, family 7). Two positions at once, then one from the state on\n"
        "chapters/07_beyond_attention/mamba/mamba_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("hidden, a row for each position", in.hidden.slice(0));
    Options options;
    options.prefill = 2;
    naive(in, options, Outputs<double>{view(out)}, print);
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::mamba
