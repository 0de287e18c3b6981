// Makes grouped-query and multi-query attention known to the program.
#include "chapters/04_head_sharing/grouped_query/grouped_query.hpp"

#include <fmt/format.h>

#include "chapters/04_head_sharing/grouped_query/grouped_query_naive.hpp"
#include "common/mechanism/run_case.hpp"

namespace attn::grouped_query {
namespace {

struct Description {
    static constexpr const char* name = "grouped_query";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "04_head_sharing";
    template <class T>
    using Inputs = grouped_query::Inputs<T>;
    template <class T>
    using Outputs = grouped_query::Outputs<T>;
    using Options = grouped_query::Options;
    using CudaFunction = grouped_query::CudaFunction;

    static std::vector<std::string> params() { return {"causal", "scale", "prefill", "page", "window"}; }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        const Sizes size = in.sizes();
        Options result;
        result.causal = params.boolean("causal", false);
        result.scale = params.number("scale").value_or(1 / std::sqrt(size.D));
        if (params.has("prefill")) result.prefill = static_cast<int>(params.integer("prefill", 1, size.Nq));
        if (params.has("page")) result.page = static_cast<int>(params.integer("page", 1, 1 << 20));
        if (params.has("window")) result.window = static_cast<int>(params.integer("window", 1, 1 << 30));
        return result;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        dense::check_shapes(in);
        const Sizes size = in.sizes();
        if (options.prefill > 0 && !options.causal)
            throw BadCase("case.json", "prefill without causal",
                          "\"causal\": true, as token after token sees no later one");
        if (options.prefill > 0 && size.Nq != size.Nk)
            throw ShapeError("k has " + std::to_string(size.Nk) + " positions and q has " + std::to_string(size.Nq) +
                             ", expected as many with prefill");
        if (options.window > 0 && !options.causal)
            throw BadCase("case.json", "window without causal",
                          "\"causal\": true: a window ends at the query's own position");
        if (options.window > 0 && in.d_out)
            throw ShapeError("d_out is there, expected none with a window: no gradients");
        if (options.page > 0 && options.prefill == 0)
            throw BadCase("case.json", "page without prefill", "both: a page is one of the cache");
    }
    template <class T>
    static void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
        if constexpr (std::is_same_v<T, Counted>)
            naive_forward(in, options, out);  // the table's costs are those of the forward pass
        else
            grouped_query::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in.sizes(), options, scalar_bytes);
    }
};

struct MultiQuery : Description {
    static constexpr const char* name = "multi_query";

    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        if (in.sizes().G != 1)
            throw ShapeError("k has " + std::to_string(in.sizes().G) +
                             " heads, expected 1: with more it is grouped_query");
        Description::check(in, options);
    }
};

// Four query heads that share one key/value head.
Case sized_case(const char* mechanism, int n) {
    return random_case(mechanism, n, {{"q", {1, 4, n, 16}}, {"k", {1, 1, n, 16}}, {"v", {1, 1, n, 16}}});
}

// Two query heads share one key/value head; the third token finds the keys and values of the first two in the cache.
void trace() {
    constexpr int n = 3;
    auto q = make_tensor<double, 4>({1, 2, n, 2}), k = make_tensor<double, 4>({1, 1, n, 2}), v = k;
    for (int i = 0; i < n; ++i) {
        q(0, 0, i, 0) = 1, q(0, 1, i, 1) = 1;  // head 0 looks at the first number of a key, head 1 at the second
        k(0, 0, i, 0) = i, k(0, 0, i, 1) = n - 1 - i;
        v(0, 0, i, 0) = i + 1, v(0, 0, i, 1) = 10 * (i + 1);
    }
    auto out = make_tensor<double, 4>({1, 2, n, 2});
    auto log_sum_exp = make_tensor<double, 3>({1, 2, n});
    const Inputs<double> inputs{view(std::as_const(q)), view(std::as_const(k)), view(std::as_const(v)), {}};
    const Outputs<double> outputs{view(out), view(log_sum_exp), {}, {}, {}};
    const Options options{true, 1, 2, 2};  // two positions at once, then one; pages of two
    naive_forward(inputs, options, outputs);

    fmt::print(
        "Grouped-query attention, 2 query heads and 1 key/value head, 3 positions (book 19.4)\n"
        "chapters/04_head_sharing/grouped_query/grouped_query_naive.hpp at the tags in brackets\n\n"
        "cache: pages of 2 positions, in use 2, then 3\n");
    const std::vector<int> table = kv_cache::page_table(1, 2);
    for (int j = 0; j < n; ++j)
        fmt::print("    position {} at page {}, slot {}: key {} {}, value {} {}\n", j,
                   table[static_cast<std::size_t>(j / 2)], j % 2, k(0, 0, j, 0), k(0, 0, j, 1), v(0, 0, j, 0),
                   v(0, 0, j, 1));
    for (int h = 0; h < 2; ++h) {
        fmt::print("\n[19.4.4-1] query head {} reads key/value head {}\n", h, inputs.sizes().kv_head(h));
        for (int i = 0; i < n; ++i) {
            fmt::print("    position {}: [19.4.4-2] scores", i);
            for (int j = 0; j <= i; ++j) fmt::print(" {}", k(0, 0, j, h));
            fmt::print("   [19.4.4-3] weights");
            for (int j = 0; j <= i; ++j) fmt::print(" {:.3f}", std::exp(k(0, 0, j, h) - log_sum_exp(0, h, i)));
            fmt::print("   [19.4.4-4] out {:.3f} {:.3f}\n", out(0, h, i, 0), out(0, h, i, 1));
        }
    }
}

template <class D>
bool add() {
    return add_described<D>([](int n) { return sized_case(D::name, n); }, trace);
}
[[maybe_unused]] const bool added = add<Description>() && add<MultiQuery>();

}  // namespace
}  // namespace attn::grouped_query
