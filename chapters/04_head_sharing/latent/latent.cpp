// Makes multi-head latent attention known to the program.
#include "chapters/04_head_sharing/latent/latent.hpp"

#include <fmt/format.h>

#include "chapters/04_head_sharing/latent/latent_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::latent {
namespace {

struct Description {
    static constexpr const char* name = "latent";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "04_head_sharing";
    template <class T>
    using Inputs = latent::Inputs<T>;
    template <class T>
    using Outputs = latent::Outputs<T>;
    using Options = latent::Options;
    using CudaFunction = latent::CudaFunction;

    static std::vector<std::string> params() {
        return {"heads",       "nope_dim",     "rope_dim", "value_dim", "rope_theta",
                "rope_layout", "norm_epsilon", "scale",    "form",      "prefill"};
    }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        const auto dimension = [&](const char* name, int least) {
            return static_cast<int>(params.integer(name, least, std::numeric_limits<int>::max()));
        };
        Options options;
        options.heads = dimension("heads", 1);
        options.nope_dim = dimension("nope_dim", 1);
        options.rope_dim = dimension("rope_dim", 2);
        options.value_dim = dimension("value_dim", 1);
        options.rope_theta = params.number("rope_theta").value_or(options.rope_theta);
        if (params.choice("rope_layout", {"interleaved", "half_split"}, "interleaved") == "half_split")
            options.rope_layout = RopeLayout::half_split;
        options.norm_epsilon = params.number("norm_epsilon").value_or(options.norm_epsilon);
        options.scale = params.number("scale").value_or(1 / std::sqrt(options.nope_dim + 1.0 * options.rope_dim));
        if (params.choice("form", {"expanded", "absorbed"}, "expanded") == "absorbed") options.form = Form::absorbed;
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
        latent::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(options), options, scalar_bytes);
    }
};

// One head of dimension 16, to which RoPE adds 8. All else is small, so that attention is what is measured.
Case sized_case(int n) {
    constexpr int Dm = 2, Rkv = 4;
    Case sized = random_case("latent", n,
                             {{"hidden", {1, n, Dm}},
                              {"w_q", {16 + 8, Dm}},
                              {"w_dkv", {Rkv + 8, Dm}},
                              {"norm_kv", {Rkv}},
                              {"w_ukv", {16 + 16, Rkv}},
                              {"w_o", {Dm, 16}}});
    sized.params = Params::parse(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16})", "sized case");
    return sized;
}

// Small enough for paper and pencil. A token is (a, b, 1) with a and b 1 or -1: the latent is (a, b), and its norm does
// nothing. Every rotated query and key is (1, 0) turned by its position: their product is cos(i - j), 0.540 for
// neighbours and -0.416 for the next. Head 1 has key a and value b, head 2 key b and value a; both ask with 1. So
// score(i, j) is the token's a, or b, plus cos(i - j).
void trace() {
    // clang-format off
    const double hidden[] = { 1, 1, 1,    1, -1, 1,    -1, 1, 1};
    const double w_q[]    = { 0, 0, 1,    0,  0, 1,     0, 0, 0,     // head 1: nope, then rope
                              0, 0, 1,    0,  0, 1,     0, 0, 0};    // head 2
    const double w_dkv[]  = { 1, 0, 0,    0,  1, 0,                  // the latent
                              0, 0, 1,    0,  0, 0};                 // the key that is rotated
    const double norm[]   = { 1, 1};
    const double w_ukv[]  = { 1, 0,    0, 1,                         // head 1: key, then value
                              0, 1,    1, 0};                        // head 2
    const double w_o[]    = { 1, 0,    0, 1,    1, 1};
    // clang-format on
    Inputs<double> inputs;
    inputs.hidden = {hidden, {{1, 3, 3}}};
    inputs.w_q = {w_q, {{6, 3}}};
    inputs.w_dkv = {w_dkv, {{4, 3}}}, inputs.norm_kv = {norm, {{2}}};
    inputs.w_ukv = {w_ukv, {{4, 2}}}, inputs.w_o = {w_o, {{3, 2}}};
    Options options{.heads = 2, .nope_dim = 1, .rope_dim = 2, .value_dim = 1, .norm_epsilon = 0, .scale = 1};
    options.prefill = 2;
    auto out = make_tensor<double, 3>({1, 3, 3}), cache = make_tensor<double, 3>({1, 3, 4});

    fmt::print(
        "Multi-head latent attention: 3 positions, 2 heads, a latent of 2 numbers, a rotated key of 2, scale 1\n"
        "(book 19.4, family 4). Two positions at once, then one with the cache; expanded, then absorbed.\n"
        "chapters/04_head_sharing/latent/latent_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("hidden, a row for each position", inputs.hidden.slice(0));
    print("W_Q, rows of each head: [nope; rope]", inputs.w_q);
    print("W_DKV, rows: [latent; rope]", inputs.w_dkv);
    print("W_UKV, rows of each head: [key; value]", inputs.w_ukv);
    print("W_O", inputs.w_o);
    for (Form form : {Form::expanded, Form::absorbed}) {
        fmt::print("---- {} ----\n\n", form == Form::expanded ? "expanded" : "absorbed");
        options.form = form;
        naive(inputs, options, Outputs<double>{view(out), view(cache)}, print);
    }
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::latent
