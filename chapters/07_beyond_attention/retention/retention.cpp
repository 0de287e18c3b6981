// Makes retention, the core of RetNet, known to the program.
#include "chapters/07_beyond_attention/retention/retention.hpp"

#include <fmt/format.h>

#include "chapters/07_beyond_attention/retention/retention_naive.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::retention {
namespace {

struct Description {
    static constexpr const char* name = "retention";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "07_beyond_attention";
    template <class T>
    using Inputs = retention::Inputs<T>;
    template <class T>
    using Outputs = retention::Outputs<T>;
    using Options = retention::Options;
    using CudaFunction = retention::CudaFunction;

    static std::vector<std::string> params() { return {"scale", "form", "chunk"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>&) {
        Options options;
        options.scale = params.number("scale").value_or(1);
        const std::string form = params.choice("form", {"parallel", "recurrent", "chunked"}, "parallel");
        options.form = form == "recurrent" ? Form::recurrent : form == "chunked" ? Form::chunked : Form::parallel;
        if (params.has("chunk"))
            options.chunk = static_cast<int>(params.integer("chunk", 1, std::numeric_limits<int>::max()));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_inputs(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        retention::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes, static_cast<bool>(in.initial_state));
    }
};

Array decay_of_heads(int H) {
    Array decay = zeros(DType::float32, {H});
    for (int h = 0; h < H; ++h) decay.data<float>()[h] = static_cast<float>(paper_decay(h));
    return decay;
}

// As a model generates: token by token.
Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    Case sized = random_case("retention", n, {{"q", shape}, {"k", shape}, {"v", shape}});
    sized.inputs["decay"] = decay_of_heads(1);
    sized.params = Params::parse(R"({"form": "recurrent"})", "sized case");
    return sized;
}

// All pairs are stored first, and then asked for one after the other, by tokens whose own keys are 0: what was stored
// early has faded.
std::vector<RecallEntry> recall_entries() {
    constexpr int D = 32;
    return {{"RetNet, γ = 31/32, D = 32",
             D,
             {1.0 / D},
             [](int) { return std::int64_t{D} * recall_value_dim; },
             false,
             [](Case& question, std::uint64_t) {
                 store_then_ask(question);
                 question.inputs["decay"] = decay_of_heads(1);
             }}};
}

// Small enough for paper and pencil: γ = 1/2. Values are 1: the first column of out counts the tokens that are
// remembered, 1, 3/2, 7/4.
void trace() {
    // clang-format off
    const double q[] = {1, 0,    1, 1,    0, 1};
    const double k[] = {1, 0,    1, 0,    1, 1};
    const double v[] = {1, 0,    1, 1,    1, 2};
    // clang-format on
    const double decay[] = {0.5};
    auto out = make_tensor<double, 4>({1, 1, 3, 2}), state = make_tensor<double, 4>({1, 1, 2, 2});
    const Inputs<double> inputs{{q, {{1, 1, 3, 2}}}, {k, {{1, 1, 3, 2}}}, {v, {{1, 1, 3, 2}}}, {decay, {{1}}}, {}};
    fmt::print(
        "Retention, 3 positions, γ = 1/2, scale 1 (book 19.4, family 7); recurrent, in chunks of 2, parallel\n"
        "chapters/07_beyond_attention/retention/retention_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    for (const auto& [title, form] :
         {std::pair{"recurrent", Form::recurrent}, {"chunked", Form::chunked}, {"parallel", Form::parallel}}) {
        fmt::print("---- {} ----\n\n", title);
        out.fill(0);
        naive(inputs, Options{1, form, 2}, Outputs<double>{view(out), view(state)}, print);
    }
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::retention
