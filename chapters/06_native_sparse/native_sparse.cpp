// Makes native sparse attention known to the program.
#include "chapters/06_native_sparse/native_sparse.hpp"

#include <fmt/format.h>

#include "chapters/06_native_sparse/native_sparse_naive.hpp"
#include "chapters/06_native_sparse/native_sparse_naive_backward.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/mechanism/trace.hpp"

namespace attn::native_sparse {
namespace {

struct Description {
    static constexpr const char* name = "native_sparse";
    static constexpr const char* section = "19.4";
    static constexpr const char* chapter = "06_native_sparse";
    template <class T>
    using Inputs = native_sparse::Inputs<T>;
    template <class T>
    using Outputs = native_sparse::Outputs<T>;
    using Options = native_sparse::Options;
    using CudaFunction = native_sparse::CudaFunction;

    static std::vector<std::string> params() {
        return {"compress_block", "compress_stride", "select_block", "select_count",
                "window",         "compressor",      "scale",        "prefill"};
    }

    template <class T>
    static Options options(const Params& params, const Inputs<T>& in) {
        constexpr int most = 1 << 24;
        Options options;
        options.compress_block = static_cast<int>(params.integer("compress_block", 1, most));
        options.compress_stride = static_cast<int>(params.integer("compress_stride", 1, options.compress_block));
        options.select_block = static_cast<int>(params.integer("select_block", options.compress_block, most));
        options.select_count = static_cast<int>(params.integer("select_count", 3, most));
        options.window = static_cast<int>(params.integer("window", 1, std::numeric_limits<int>::max()));
        const std::string compressor = params.choice("compressor", {"mean", "linear", "mlp"}, "mean");
        options.compressor = compressor == "mean"     ? Compressor::mean
                             : compressor == "linear" ? Compressor::linear
                                                      : Compressor::mlp;
        options.scale = params.number("scale").value_or(1 / std::sqrt(in.sizes().Dk));
        if (params.has("prefill")) options.prefill = static_cast<int>(params.integer("prefill", 1, in.sizes().N));
        return options;
    }
    template <class T>
    static void check(const Inputs<T>& in, const Options& options) {
        for (auto [name, block] :
             {std::pair{"compress_block", options.compress_block}, {"select_block", options.select_block}})
            if (block % options.compress_stride != 0)
                throw BadCase("case.json", fmt::format("{} {}", name, block),
                              fmt::format("a multiple of compress_stride {}", options.compress_stride));
        check_shapes(in, options);
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
            native_sparse::naive(in, options, out);
    }
    template <class T>
    static Costs cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
        return forward_cost(in, options, scalar_bytes);
    }
};

// The paper's blocks of 32, 16 and 64 by a quarter, as n is small here too; two query heads share a selection.
Case sized_case(int n) {
    const std::vector<std::int64_t> shared{1, 1, n, 16};
    Case sized = random_case("native_sparse", n,
                             {{"q", {1, 2, n, 16}},
                              {"k_compress", shared},
                              {"v_compress", shared},
                              {"k_select", shared},
                              {"v_select", shared},
                              {"k_window", shared},
                              {"v_window", shared},
                              {"gates", {1, 2, n, 3}}});
    Array& gates = sized.inputs["gates"];
    for (std::int64_t x = 0; x < gates.count(); ++x)
        gates.data<float>()[x] = 1 / (1 + std::exp(-gates.data<float>()[x]));
    sized.params = Params::parse(
        R"({"compress_block": 8, "compress_stride": 4, "select_block": 16, "select_count": 4, "window": 32})");
    return sized;
}

struct PrintsBlocks : TracePrinter {
    using TracePrinter::operator();
    void operator()(const char* title, TensorView<std::int32_t, 1> row) const {
        fmt::print("{}\n", title);
        for (int r = 0; r < row.extent(0); ++r) fmt::print("{:8}", row(r));
        fmt::print("\n\n");
    }
    void operator()(const char* title, TensorView<double, 1> row) const {
        TracePrinter::operator()(title, TensorView<const double, 1>(row));
    }
};

// Small enough for paper and pencil: 12 tokens with keys and values of one number, blocks of 2 to be selected; the
// compressed blocks have 2 tokens as well and overlap by one. Only the keys of the tokens 4 and 5 differ from 0: the
// compressed keys 3, 4 and 5 score ln 2, 2 ln 2 and ln 2, the others 0. The values are the positions.
void trace() {
    constexpr int n = 12;
    auto q = make_tensor<double, 4>({1, 1, n, 1}, 1), k = make_tensor<double, 4>({1, 1, n, 1}), v = k;
    k(0, 0, 4, 0) = k(0, 0, 5, 0) = 2 * std::log(2.0);
    for (int j = 0; j < n; ++j) v(0, 0, j, 0) = j;
    auto gates = make_tensor<double, 4>({1, 1, n, 3}, 0.5);
    auto out = v, out_compress = v, out_select = v, out_window = v;
    Inputs<double> in{};
    in.q = view(std::as_const(q)), in.gates = view(std::as_const(gates));
    in.k_compress = in.k_select = in.k_window = view(std::as_const(k));
    in.v_compress = in.v_select = in.v_window = view(std::as_const(v));
    const Options options{2, 1, 2, 4, 3, Compressor::mean, 1};
    auto selected = make_tensor<std::int32_t, 4>({1, 1, n, options.select_count});
    Outputs<double> outputs{};
    outputs.out = view(out), outputs.out_compress = view(out_compress), outputs.out_select = view(out_select);
    outputs.out_window = view(out_window), outputs.selected = view(selected);

    fmt::print(
        "Native sparse attention, 12 positions, the last query (book 19.4, family 6)\n"
        "l = 2, d = 1, l' = 2, n = 4 blocks of 6, W = 3, scale 1, all gates 0.5\n"
        "chapters/06_native_sparse/native_sparse_naive.hpp at the tags in brackets\n\n");
    const PrintsBlocks print;
    print("k, of all branches", flat(in.k_compress.slice(0, 0)));
    print("v, of all branches", flat(in.v_compress.slice(0, 0)));
    Memory<double> memory(in, options);
    memory.compress_head(in, options, 0, 0, 0, n);
    print("[19.4.6-1] compressed keys: means of 2, one every token", flat(memory.compressed_keys()));
    print("[19.4.6-1] compressed values", flat(memory.compressed_values()));
    attend_at(in, options, 0, 0, n - 1, memory, outputs, true, print);
    fmt::print("[19.4.6-4] the blocks of each query\n");
    for (int t = 0; t < n; ++t) {
        attend_at(in, options, 0, 0, t, memory, outputs, true);
        fmt::print("{:8}:", t);
        for (int r = 0; r < options.select_count; ++r) fmt::print("{:4}", selected(0, 0, t, r));
        fmt::print("\n");
    }
}

[[maybe_unused]] const bool added = add_described<Description>(sized_case, trace);

}  // namespace
}  // namespace attn::native_sparse
