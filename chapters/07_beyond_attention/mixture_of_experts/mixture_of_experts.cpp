// Makes the mixture of experts known to the program.
#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.hpp"

#include <fmt/format.h>

#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::mixture_of_experts {
namespace {

struct Description {
    static constexpr const char* name = "mixture_of_experts";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "07_beyond_attention";
    template <class T>
    using Inputs = mixture_of_experts::Inputs<T>;
    template <class T>
    using Outputs = mixture_of_experts::Outputs<T>;
    using Options = mixture_of_experts::Options;
    using CudaFunction = mixture_of_experts::CudaFunction;

    static std::vector<std::string> params() { return {"top_k", "renormalize"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        Options options;
        options.top_k = static_cast<int>(params.integer("top_k", 1, in.router.extent(0)));
        options.renormalize = params.boolean("renormalize", false);
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        check_shapes(in, options);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        mixture_of_experts::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

// Two of eight experts, as in Mixtral.
Case sized_case(int n) {
    constexpr int E = 8, Dm = 16, Df = 32;
    Case sized = random_case("mixture_of_experts", n,
                             {{"hidden", {1, n, Dm}},
                              {"router", {E, Dm}},
                              {"gate", {E, Df, Dm}},
                              {"up", {E, Df, Dm}},
                              {"down", {E, Dm, Df}}});
    sized.params = Params::parse(R"({"top_k": 2})", "sized case");
    return sized;
}

struct PrintsExperts : TracePrinter {
    using TracePrinter::operator();
    void operator()(const char* title, TensorView<const std::int32_t, 1> row) const {
        fmt::print("{}\n", title);
        for (int r = 0; r < row.extent(0); ++r) fmt::print("{:8}", row(r));
        fmt::print("\n\n");
    }
};

// Small enough for paper and pencil: a token is (3, ln 2), the scores are ln 2 · (1, 2, 1), the weights 1/4, 1/2 and
// 1/4: the first and the last expert are equal. Every gate is 40, which is its own silu to the last digit, every up 3.
void trace() {
    const double ln2 = std::log(2.0), g = 40 / ln2;
    // clang-format off
    const double hidden[] = { 3, ln2};
    const double router[] = { 0, 1,    0, 2,    0, 1};
    const double gate[]   = { 0, g,    0, g,    0, g};
    const double up[]     = { 1, 0,    1, 0,    1, 0};
    const double down[]   = { 1. / 40, 1. / 40,    2. / 40, 1. / 40,    3. / 40, 1. / 40};
    // clang-format on
    Inputs<double> inputs;
    inputs.hidden = {hidden, {{1, 1, 2}}}, inputs.router = {router, {{3, 2}}};
    inputs.gate = {gate, {{3, 1, 2}}}, inputs.up = {up, {{3, 1, 2}}}, inputs.down = {down, {{3, 2, 1}}};
    auto out = make_tensor<double, 3>({1, 1, 2});
    auto experts = make_tensor<std::int32_t, 3>({1, 1, 2});
    fmt::print(
        "Mixture of experts: one token, the best 2 of 3 experts with one hidden unit each (book 19.4, family 7)\n"
        "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts_naive.hpp at the tags in brackets\n\n");
    const PrintsExperts print;
    print("hidden", inputs.hidden.slice(0));
    print("W_r, a row for each expert", inputs.router);
    naive(inputs, {.top_k = 2, .renormalize = false}, Outputs<double>{view(out), view(experts)}, print);
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::mixture_of_experts
