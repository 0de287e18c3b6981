// Makes RWKV's weighted mean known to the program.
#include "chapters/07_beyond_attention/rwkv/rwkv.hpp"

#include <fmt/format.h>

#include "chapters/07_beyond_attention/rwkv/rwkv_naive.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::rwkv {
namespace {

struct Description {
    static constexpr const char* name = "rwkv";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "07_beyond_attention";
    template <class T>
    using Inputs = rwkv::Inputs<T>;
    template <class T>
    using Outputs = rwkv::Outputs<T>;
    using Options = rwkv::Options;
    using CudaFunction = rwkv::CudaFunction;

    static std::vector<std::string> params() { return {"form", "chunk"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>&) {
        Options options;
        const std::string form = params.choice("form", {"sequential", "parallel", "chunked"}, "sequential");
        options.form = form == "parallel" ? Form::parallel : form == "chunked" ? Form::chunked : Form::sequential;
        if (params.has("chunk"))
            options.chunk = static_cast<int>(params.integer("chunk", 1, std::numeric_limits<int>::max()));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_shapes(in);
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        rwkv::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

Case sized_case(int n) {
    constexpr int D = 16;
    Case sized =
        random_case("rwkv", n, {{"time_decay", {D}}, {"time_first", {D}}, {"key", {1, n, D}}, {"value", {1, n, D}}});
    for (int d = 0; d < D; ++d) sized.inputs["time_decay"].data<float>()[d] = 1 / static_cast<float>(1 + d);
    return sized;
}

// A channel for each number of a value, and of a key. w = 0: nothing fades, and all pairs count by their keys alone. As
// there is no query, a question has nowhere to stand: its token only reads.
std::vector<RecallEntry> recall_entries() {
    constexpr int D = recall_value_dim;
    return {{fmt::format("RWKV-4, w = 0, {} channels", D),
             D,
             {1},
             [](int) { return std::int64_t{3} * D; },
             false,
             [](Case& question, std::uint64_t) {
                 store_then_ask(question);
                 Array key = question.inputs["k"], value = question.inputs["v"];
                 const std::int64_t tokens = key.shape[2];
                 key.shape = value.shape = {1, tokens, D};
                 std::fill_n(key.data<float>() + tokens / 2 * D, tokens / 2 * D, -1e30f);  // weighs nothing
                 const Array none = zeros(DType::float32, {D});
                 question.inputs = {{"key", key}, {"value", value}, {"time_decay", none}, {"time_first", none}};
             }}};
}

// Small enough for paper and pencil: one channel, w = ln 2: the past weighs half as much with each token. Keys are 0
// and ln 3; without a bonus the token itself weighs 1 and 3.
void trace() {
    const double w[] = {std::log(2.0)}, u[] = {0}, k[] = {0, std::log(3.0), 0}, v[] = {4, 8, 0};
    auto out = make_tensor<double, 3>({1, 3, 1}), state = make_tensor<double, 3>({1, 3, 1});
    const Inputs<double> inputs{{w, {{1}}}, {u, {{1}}}, {k, {{1, 3, 1}}}, {v, {{1, 3, 1}}}};
    fmt::print(
        "RWKV, 3 positions, one channel, w = ln 2, no bonus (book 19.4, family 7); one token after the other, and\n"
        "as elements that are merged\n"
        "chapters/07_beyond_attention/rwkv/rwkv_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("key", inputs.key.slice(0));
    print("value", inputs.value.slice(0));
    for (Form form : {Form::sequential, Form::parallel}) {
        fmt::print("---- {} ----\n\n", form == Form::sequential ? "sequential" : "parallel");
        out.fill(0);
        naive(inputs, Options{form}, Outputs<double>{view(out), view(state)}, print);
    }
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::rwkv
