// Makes Jamba known to the program.
#include "chapters/07_beyond_attention/jamba/jamba.hpp"

#include <fmt/format.h>

#include "chapters/07_beyond_attention/jamba/jamba_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::jamba {
namespace {

struct Description {
    static constexpr const char* name = "jamba";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "07_beyond_attention";
    template <class T>
    using Inputs = jamba::Inputs<T>;
    template <class T>
    using Outputs = jamba::Outputs<T>;
    using Options = jamba::Options;
    using CudaFunction = jamba::CudaFunction;

    static std::vector<std::string> params() {
        return {"num_hidden_layers",
                "attn_layer_period",
                "attn_layer_offset",
                "expert_layer_period",
                "expert_layer_offset",
                "num_attention_heads",
                "num_key_value_heads",
                "num_experts",
                "num_experts_per_tok",
                "rms_norm_eps",
                "prefill"};
    }

    // The params say which layers there are, and so which tensors.
    template <class T>
    static void prepare(const Params& params, Inputs<T>& in) {
        in.set_layers(configuration(params));
    }
    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        Options options = configuration(params);
        if (params.has("prefill"))
            options.prefill = static_cast<int>(params.integer("prefill", 1, in.hidden.extent(1)));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        check_shapes(in, options);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        jamba::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        Costs costs = forward_cost(in, options, scalar_bytes);
        costs.bytes_held += static_cast<std::int64_t>(in.layers.size() * sizeof(Kept<T>));  // the list of them
        return costs;
    }

  private:
    static Options configuration(const Params& params) {
        constexpr int most_layers = 1000, most = std::numeric_limits<int>::max();
        const auto integer = [&](const char* name, int least, int greatest) {
            return static_cast<int>(params.integer(name, least, greatest));
        };
        Options options;
        options.num_hidden_layers = integer("num_hidden_layers", 1, most_layers);
        options.attn_layer_period = integer("attn_layer_period", 1, most);
        options.attn_layer_offset = integer("attn_layer_offset", 0, options.attn_layer_period - 1);
        options.expert_layer_period = integer("expert_layer_period", 1, most);
        options.expert_layer_offset = integer("expert_layer_offset", 0, options.expert_layer_period - 1);
        options.num_attention_heads = integer("num_attention_heads", 1, most);
        options.num_key_value_heads = integer("num_key_value_heads", 1, options.num_attention_heads);
        options.num_experts = integer("num_experts", 1, most);
        options.num_experts_per_tok = integer("num_experts_per_tok", 1, options.num_experts);
        options.rms_norm_eps = params.number("rms_norm_eps").value_or(options.rms_norm_eps);
        return options;
    }
};

// Of each kind of layer one: Mamba with a dense network, attention with two of four experts.
Case sized_case(int n) {
    constexpr int Dm = 4, Di = 8, S = 4, W = 4, R = 1, H = 2, G = 1, Dh = 4, Df = 8, E = 4;
    Case sized = random_case("jamba", n,
                             {{"hidden", {1, n, Dm}},
                              {"layers.0.input_norm", {Dm}},
                              {"layers.0.feed_forward_norm", {Dm}},
                              {"layers.0.in_proj", {2 * Di, Dm}},
                              {"layers.0.conv_weight", {Di, W}},
                              {"layers.0.conv_bias", {Di}},
                              {"layers.0.x_proj", {R + 2 * S, Di}},
                              {"layers.0.dt_proj", {Di, R}},
                              {"layers.0.dt_bias", {Di}},
                              {"layers.0.a_log", {Di, S}},
                              {"layers.0.d", {Di}},
                              {"layers.0.out_proj", {Dm, Di}},
                              {"layers.0.dt_norm", {R}},
                              {"layers.0.b_norm", {S}},
                              {"layers.0.c_norm", {S}},
                              {"layers.0.gate", {Df, Dm}},
                              {"layers.0.up", {Df, Dm}},
                              {"layers.0.down", {Dm, Df}},
                              {"layers.1.input_norm", {Dm}},
                              {"layers.1.feed_forward_norm", {Dm}},
                              {"layers.1.w_q", {H * Dh, Dm}},
                              {"layers.1.w_k", {G * Dh, Dm}},
                              {"layers.1.w_v", {G * Dh, Dm}},
                              {"layers.1.w_o", {Dm, H * Dh}},
                              {"layers.1.router", {E, Dm}},
                              {"layers.1.gate", {E, Df, Dm}},
                              {"layers.1.up", {E, Df, Dm}},
                              {"layers.1.down", {E, Dm, Df}}});
    sized.params = Params::parse(R"({"num_hidden_layers": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
                                     "expert_layer_period": 2, "expert_layer_offset": 1, "num_attention_heads": 2,
                                     "num_key_value_heads": 1, "num_experts": 4, "num_experts_per_tok": 2})",
                                 "sized case");
    return sized;
}

// Two layers, both kinds of mixer and of network: Mamba with one channel, then attention and two experts, of which a
// token takes one. All weights are 1 or 0.
void trace() {
    const double hidden[] = {1, 1, 3, 4, 1, -1}, ones[] = {1, 1, 1, 1}, zero[] = {0, 0, 0, 0},
                 identity[] = {1, 0, 0, 1};
    const double first[] = {1, 0}, gates[] = {1, 0, 0, 1};
    Options options{.num_hidden_layers = 2, .attn_layer_period = 2, .attn_layer_offset = 1, .expert_layer_period = 2};
    options.expert_layer_offset = 1, options.num_experts = 2, options.rms_norm_eps = 0, options.prefill = 2;
    Inputs<double> in;
    in.hidden = {hidden, {{1, 3, 2}}};
    in.set_layers(options);
    for (Layer<double>& layer : in.layers) layer.input_norm = layer.feed_forward_norm = {ones, {{2}}};
    mamba::Weights<double>& scan = in.layers[0].mamba;
    scan.in_proj = {identity, {{2, 2}}}, scan.conv_weight = {ones, {{1, 1}}}, scan.conv_bias = {zero, {{1}}};
    scan.x_proj = {ones, {{3, 1}}}, scan.dt_proj = {ones, {{1, 1}}}, scan.dt_bias = {zero, {{1}}};
    scan.a_log = {zero, {{1, 1}}}, scan.d = {zero, {{1}}}, scan.out_proj = {first, {{2, 1}}};
    in.layers[0].feed_forward = {{first, {{1, 2}}}, {first, {{1, 2}}}, {first, {{2, 1}}}};
    in.layers[1].attention = {{identity, {{2, 2}}}, {identity, {{2, 2}}}, {identity, {{2, 2}}}, {identity, {{2, 2}}}};
    in.layers[1].experts = {{identity, {{2, 2}}}, {gates, {{2, 1, 2}}}, {gates, {{2, 1, 2}}}, {gates, {{2, 2, 1}}}};
    auto out = make_tensor<double, 3>({1, 3, 2});
    fmt::print(
        "Jamba, 3 positions of two numbers, two layers: Mamba and a dense network; attention and two experts, of "
        "which\n"
        "each position takes one (book 19.4, family 7). Two positions at once, then one from what the layers have "
        "kept\n"
        "chapters/07_beyond_attention/jamba/jamba_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("hidden, a row for each position", in.hidden.slice(0));
    naive(in, options, Outputs<double>{view(out)}, print);
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::jamba
