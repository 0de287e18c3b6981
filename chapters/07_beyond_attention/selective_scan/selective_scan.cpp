// Makes the selective scan known to the program.
#include "chapters/07_beyond_attention/selective_scan/selective_scan.hpp"

#include <fmt/format.h>

#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive.hpp"
#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive_backward.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::selective_scan {
namespace {

struct Description {
    static constexpr const char* name = "selective_scan";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "07_beyond_attention";
    template <class T>
    using Inputs = selective_scan::Inputs<T>;
    template <class T>
    using Outputs = selective_scan::Outputs<T>;
    using Options = selective_scan::Options;
    using CudaFunction = selective_scan::CudaFunction;

    static std::vector<std::string> params() { return {"delta_softplus", "discretization", "form", "chunk"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>&) {
        Options options;
        options.delta_softplus = params.boolean("delta_softplus", false);
        if (params.choice("discretization", {"euler", "zoh"}, "euler") == "zoh")
            options.discretization = Discretization::zoh;
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
    static void check_cuda(const Case& input_case) {
        if (input_case.inputs.count("d_out"))
            throw BadCase((input_case.folder / "d_out.npy").string(), "d_out",
                          "no d_out: the CUDA versions have no backward pass; the naive one has (--impl naive)");
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        selective_scan::naive(in, options, out);
        if constexpr (!std::is_same_v<T, Counted>)  // the table's costs are those of the forward pass
            if (in.d_out) naive_backward(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), {bool(in.delta_bias), bool(in.d), bool(in.z)}, options, scalar_bytes);
    }
};

// As in Mamba: 16 numbers of state for each channel, which fade at different rates.
Case sized_case(int n) {
    constexpr int D = 4, S = 16;
    Case sized = random_case("selective_scan", n,
                             {{"u", {1, D, n}},
                              {"delta", {1, D, n}},
                              {"a", {D, S}},
                              {"b", {1, S, n}},
                              {"c", {1, S, n}},
                              {"d", {D}},
                              {"z", {1, D, n}}});
    Array& a = sized.inputs["a"];
    for (int index = 0; index < D * S; ++index) a.data<float>()[index] = -1 - static_cast<float>(index % S);
    sized.params = Params::parse(R"({"delta_softplus": true})", "sized case");
    return sized;
}

// From [1, 1, n, dim] to [1, dim, n].
Array in_columns(const Array& rows) {
    const std::int64_t n = rows.shape[2], dim = rows.shape[3];
    Array columns = zeros(DType::float32, {1, dim, n});
    for (std::int64_t t = 0; t < n; ++t)
        for (std::int64_t d = 0; d < dim; ++d) columns.data<float>()[d * n + t] = rows.data<float>()[t * dim + d];
    return columns;
}

// A channel for each number of a value; B is the key, C the query. Δ, which a model makes from the token, is 1 where a
// pair is stored and 0 where one is asked for: such a token leaves the state as it is. A = 0: nothing fades, and
// all pairs count alike, in a sum of key times value.
std::vector<RecallEntry> recall_entries() {
    std::vector<RecallEntry> entries;
    for (int S : {16, 32})
        entries.push_back({fmt::format("Mamba, A = 0, S = {}", S),
                           S,
                           {1.0 / S},
                           [S](int) { return std::int64_t{S} * recall_value_dim; },
                           true,
                           [S](Case& question, std::uint64_t) {
                               store_then_ask(question);
                               const Array u = in_columns(question.inputs["v"]);
                               const std::int64_t tokens = u.shape[2];
                               Array delta = zeros(DType::float32, {1, recall_value_dim, tokens});
                               for (std::int64_t index = 0; index < delta.count(); ++index)
                                   delta.data<float>()[index] = index % tokens < tokens / 2 ? 1 : 0;
                               question.inputs = {{"u", u},
                                                  {"delta", delta},
                                                  {"a", zeros(DType::float32, {recall_value_dim, S})},
                                                  {"b", in_columns(question.inputs["k"])},
                                                  {"c", in_columns(question.inputs["q"])}};
                           },
                           true});
    return entries;
}

// Small enough for paper and pencil: one channel, one number of state. A = -ln 2, so that Δ = 1 halves the state and
// Δ = 0 leaves it as it is.
void trace() {
    const double u[] = {4, 2, 8}, delta[] = {1, 0, 1}, a[] = {-std::log(2.0)}, ones[] = {1, 1, 1};
    auto out = make_tensor<double, 3>({1, 1, 3}), last = make_tensor<double, 3>({1, 1, 1});
    Inputs<double> inputs;
    inputs.u = {u, {{1, 1, 3}}}, inputs.delta = {delta, {{1, 1, 3}}}, inputs.a = {a, {{1, 1}}};
    inputs.b = {ones, {{1, 1, 3}}}, inputs.c = inputs.b;
    fmt::print(
        "Selective scan, 3 positions, one channel with one number of state (book 19.4, family 7); one token after\n"
        "the other, and as pairs\n"
        "chapters/07_beyond_attention/selective_scan/selective_scan_naive.hpp at the tags in brackets\n\n");
    const TracePrinter print;
    print("u", inputs.u.slice(0, 0));
    print("Δ", inputs.delta.slice(0, 0));
    for (Form form : {Form::sequential, Form::parallel}) {
        fmt::print("---- {} ----\n\n", form == Form::sequential ? "sequential" : "parallel");
        out.fill(0);
        Options options;
        options.form = form;
        naive(inputs, options, Outputs<double>{view(out), view(last)}, print);
    }
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::selective_scan
