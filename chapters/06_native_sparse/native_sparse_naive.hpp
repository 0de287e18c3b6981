// Native sparse attention, naive, forward: one query after the other. Each branch is chapter 01's attention to a list
// of keys. Templated on the scalar; sums are kept in accumulator_t<T>.
//
// The tags name the steps; README.md and `attn trace native_sparse` use the same.
#pragma once

#include "chapters/01_fixed_sparse/attend_naive.hpp"
#include "chapters/06_native_sparse/compressor.hpp"

namespace attn::native_sparse {

using fixed_sparse::Row;

// Whether the first `count` of the chosen blocks have J.
inline bool has(TensorView<const std::int32_t, 1> chosen, int count, int J) {
    return std::find(chosen.data(), chosen.data() + count, J) != chosen.data() + count;
}

// [19.4.6-4] the blocks of a query whose own block is `own`, in ascending order, then -1: the first and the two last,
// and of the others those of the largest importance. Of equal ones, and where there is NaN, the lower index comes
// first.
template <class Sum>
void choose(TensorView<const Sum, 1> importance, int own, TensorView<std::int32_t, 1> chosen) {
    int count = 0;
    for (int J : {0, own - 1, own})
        if (J >= 0 && !has(chosen, count, J)) chosen(count++) = J;
    while (count < chosen.extent(0) && count <= own) {
        int best = -1;
        for (int J = 0; J <= own; ++J)
            if (!has(chosen, count, J) && (best < 0 || importance(best) < importance(J))) best = J;
        chosen(count++) = best;
    }
    std::sort(chosen.data(), chosen.data() + count);
    std::fill(chosen.data() + count, chosen.data() + chosen.extent(0), -1);
}

// The memory for one key/value head.
template <class T>
struct Memory {
    using Sum = accumulator_t<T>;

    Tensor<T, 2> keys, values;  // compressed: [blocks of l, Dk], [blocks of l, Dv]
    MlpMemory<Sum> mlp;
    Row<T> row;                 // of one query and branch
    Tensor<Sum, 1> importance;  // of each block of l' to one query

    Memory(const Inputs<T>& in, const Options& options)
        : keys(make_tensor<T, 2>({{options.complete(in.sizes().N), in.sizes().Dk}})),
          values(make_tensor<T, 2>({{options.complete(in.sizes().N), in.sizes().Dv}})),
          mlp(mlp_memory(in, options)),
          row(longest_row(in.sizes().N, options)),
          importance(make_tensor<Sum, 1>({{options.blocks(in.sizes().N)}})) {}

    TensorView<const T, 2> compressed_keys() const { return view(keys); }
    TensorView<const T, 2> compressed_values() const { return view(values); }

    // [19.4.6-11] the compressed cache grows by the blocks that the positions first … end - 1 complete
    void compress_head(const Inputs<T>& in, const Options& options, int b, int g, int first, int end) {
        const int from = options.complete(first), to = options.complete(end);
        compress(in.k_compress.slice(b, g), key_weights(in), options, mlp, view(keys), from, to);
        compress(in.v_compress.slice(b, g), value_weights(in), options, mlp, view(values), from, to);
    }
};

// The keys that the query at position t sees in each branch.
template <class T>
void see_compressed(Row<T>& row, const Options& options, int t) {
    row.keys.clear();  // [19.4.6-2] blocks that are complete: the last token of block i is i d + l - 1
    for (int i = 0; i < options.complete(t + 1); ++i) row.keys.push_back(i);
}
template <class T>
void see_selected(Row<T>& row, const Options& options, TensorView<const std::int32_t, 1> selected, int t) {
    row.keys.clear();  // [19.4.6-5] all tokens of the chosen blocks, of the own one those up to t
    for (int s = 0; s < selected.extent(0) && selected(s) >= 0; ++s)
        for (int u = 0; u < options.select_block && selected(s) * options.select_block + u <= t; ++u)
            row.keys.push_back(selected(s) * options.select_block + u);
}
template <class T>
void see_window(Row<T>& row, const Options& options, int t) {
    row.keys.clear();  // [19.4.6-6] the last W tokens
    for (int j = t < options.window ? 0 : t - options.window + 1; j <= t; ++j) row.keys.push_back(j);
}

// The query heads of key/value head g at position t. `choose_blocks`: false takes out.selected as it is.
template <class T, class Watch = NobodyWatches>
void attend_at(const Inputs<T>& in, const Options& options, int b, int g, int t, Memory<T>& memory,
               const Outputs<T>& out, bool choose_blocks, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    const Sizes size = in.sizes();
    const int first_head = g * size.group(), end_head = first_head + size.group();
    Row<T>& row = memory.row;
    const TensorView<std::int32_t, 1> selected = out.selected.slice(b, g, t);
    memory.importance.fill(0);
    for (int h = first_head; h < end_head; ++h) {
        see_compressed(row, options, t);
        softmax(row, in.q.slice(b, h, t), memory.compressed_keys(), options.scale);
        weighted_mean(row, memory.compressed_values(), out.out_compress.slice(b, h, t));
        watch("[19.4.6-2] weights of the compressed keys", row.seen());

        // [19.4.6-3] importance of a block: the weights of the compressed keys that share strides with it, times how
        // many they share, of all heads of the group
        for (int i = 0; i < row.count(); ++i) {
            const int first = i * options.compress_stride, last = first + options.compress_block - 1;
            for (int J = options.block_of(first); J <= options.block_of(last); ++J)
                memory.importance(J) += static_cast<Sum>(options.shared_strides(i, J)) * row.weights(i);
        }
    }
    watch("[19.4.6-3] importance of each block, of all heads of the group",
          TensorView<const Sum, 1>(view(memory.importance)));
    if (choose_blocks) choose<Sum>(view(memory.importance), options.block_of(t), selected);
    watch("[19.4.6-4] the blocks: the first, the two last, and the most important of the others", selected);

    for (int h = first_head; h < end_head; ++h) {
        see_selected(row, options, selected, t);
        softmax(row, in.q.slice(b, h, t), in.k_select.slice(b, g), options.scale);
        weighted_mean(row, in.v_select.slice(b, g), out.out_select.slice(b, h, t));
        watch("[19.4.6-5] weights of the keys of these blocks", row.seen());
        see_window(row, options, t);
        softmax(row, in.q.slice(b, h, t), in.k_window.slice(b, g), options.scale);
        weighted_mean(row, in.v_window.slice(b, g), out.out_window.slice(b, h, t));
        watch("[19.4.6-6] weights of the keys of the window", row.seen());

        // [19.4.6-7] the gated sum
        for (int d = 0; d < size.Dv; ++d) {
            Sum sum = 0;
            sum += static_cast<Sum>(in.gates(b, h, t, 0)) * static_cast<Sum>(out.out_compress(b, h, t, d));
            sum += static_cast<Sum>(in.gates(b, h, t, 1)) * static_cast<Sum>(out.out_select(b, h, t, d));
            sum += static_cast<Sum>(in.gates(b, h, t, 2)) * static_cast<Sum>(out.out_window(b, h, t, d));
            out.out(b, h, t, d) = static_cast<T>(sum);
        }
        watch("[19.4.6-7] output of the compressed branch", out.out_compress.slice(b, h, t));
        watch("[19.4.6-7] of the selection", out.out_select.slice(b, h, t));
        watch("[19.4.6-7] of the window", out.out_window.slice(b, h, t));
        watch("[19.4.6-7] out: their sum, each times its gate", out.out.slice(b, h, t));
    }
}

template <class T>
void naive_forward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, bool choose_blocks = true) {
    check_shapes(in, options);
    const Sizes size = in.sizes();
    Memory<T> memory(in, options);
    for (int b = 0; b < size.B; ++b)
        for (int g = 0; g < size.G; ++g) {
            for_each_step(size.N, options.prefill, [&](const Step& step) {
                memory.compress_head(in, options, b, g, step.first, step.first + step.count);
                for (int t = step.first; t < step.first + step.count; ++t)
                    attend_at(in, options, b, g, t, memory, out, choose_blocks);
            });
        }
}

}  // namespace attn::native_sparse
