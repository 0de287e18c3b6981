// Makes sliding-window attention known to the program.
#include "chapters/01_fixed_sparse/sliding_window/sliding_window.hpp"

#include <fmt/format.h>

#include "chapters/01_fixed_sparse/picture.hpp"
#include "chapters/01_fixed_sparse/sliding_window/sliding_window_naive.hpp"
#include "common/mechanism/recall.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::sliding_window {
namespace {

struct Description {
    static constexpr const char* name = "sliding_window";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "01_fixed_sparse";
    template <class T>
    using Inputs = sliding_window::Inputs<T>;
    template <class T>
    using Outputs = sliding_window::Outputs<T>;
    using Options = sliding_window::Options;
    using CudaFunction = sliding_window::CudaFunction;

    static std::vector<std::string> params() { return {"window", "sinks", "scale"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        return {static_cast<int>(params.integer("window", 1, std::numeric_limits<int>::max())),
                static_cast<int>(params.integer("sinks", 0, std::numeric_limits<int>::max(), 0)),
                params.number("scale").value_or(1 / std::sqrt(in.sizes().D))};
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options&) {
        check_shapes(in);
    }
    static void check_cuda(const Case& input_case) {
        if (input_case.inputs.count("d_out"))
            throw BadCase((input_case.folder / "d_out.npy").string(),
                          "gradients, which only the naive version computes", "--impl naive");
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        if constexpr (std::is_same_v<T, Counted>)
            naive_forward(in, options, out);  // the table's costs are those of the forward pass
        else
            sliding_window::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

// A window of 16, whatever n.
Case sized_case(int n) {
    const std::vector<std::int64_t> shape{1, 1, n, 16};
    Case result = random_case("sliding_window", n, {{"q", shape}, {"k", shape}, {"v", shape}});
    result.params = Params::parse(R"({"window": 16})");
    return result;
}

// Each question is asked at the end, by a head of its own; all heads share the keys and values.
std::vector<RecallEntry> recall_entries() {
    constexpr int D = 32, W = 32;
    return {{"window of 32, D = 32",
             D,
             {4},
             [=](int pairs) { return std::int64_t{std::min(pairs, W)} * (D + recall_value_dim); },
             false,
             [](Case& question, std::uint64_t) {
                 Array& q = question.inputs["q"];
                 q.shape = {1, q.shape[2], 1, D};
                 question.params = Params::parse(R"({"window": 32})");
             }}};
}

// Small enough for paper and pencil: all keys score 0 but the first, the sink, whose weight is twice that of another.
// The values are the positions.
void trace() {
    constexpr int n = 6;
    auto q = make_tensor<double, 4>({1, 1, n, 1}, 1), k = make_tensor<double, 4>({1, 1, n, 1}), v = k, out = k;
    auto log_sum_exp = make_tensor<double, 3>({1, 1, n});
    k(0, 0, 0, 0) = std::log(2.0);
    for (int j = 0; j < n; ++j) v(0, 0, j, 0) = j;
    const Inputs<double> inputs{view(std::as_const(q)), view(std::as_const(k)), view(std::as_const(v)), {}};
    const Options options{3, 1, 1};
    fmt::print(
        "Sliding window, 6 positions, W = 3 (the own one included), 1 sink, scale 1 (book 19.4, family 1)\n"
        "chapters/01_fixed_sparse/sliding_window/sliding_window_naive.hpp at the tags in brackets\n\n");
    fmt::print("[19.4.1-1] the keys that a query sees: a row for each query, a column for each key\n{}\n",
               fixed_sparse::terminal_picture(pattern(inputs.sizes(), options), 0, n, n));
    fmt::print("[19.4.1-8] tiles of 2 x 2: █ full, ▒ partial, · not visited\n{}\n",
               fixed_sparse::terminal_tiles(pattern(inputs.sizes(), options), n, n, {2, 2}));
    const TracePrinter print;
    print("q", inputs.q.slice(0, 0));
    print("k", inputs.k.slice(0, 0));
    print("v", inputs.v.slice(0, 0));
    naive_forward(inputs, options, Outputs<double>{view(out), view(log_sum_exp), {}, {}, {}}, print);

    fmt::print("[19.4.1-6] rolling cache of {} slots: which position is in which, after each token\n",
               options.window + options.sinks);
    RollingCache<double> cache(options, 1, 1);
    for (int j = 0; j < n; ++j) {
        cache.append(inputs.k.slice(0, 0, j), inputs.v.slice(0, 0, j));
        for (int slot = 0; slot < std::min(j + 1, options.window + options.sinks); ++slot)
            fmt::print("{:8.0f}", cache.values(slot, 0));
        fmt::print("\n");
    }
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace, recall_entries());

}  // namespace
}  // namespace attn::sliding_window
