// Native sparse attention, naive, backward. Which blocks were selected is a constant: no gradient goes through the
// importance, and the compressed keys learn from their own branch's output alone.
#pragma once

#include "chapters/06_native_sparse/native_sparse_naive.hpp"

namespace attn::native_sparse {

// Gradients of one key/value head, in a branch.
template <class Sum>
struct BranchGradients {
    Tensor<Sum, 2> keys, values;

    BranchGradients(int N, int Dk, int Dv)
        : keys(make_tensor<Sum, 2>({{N, Dk}})), values(make_tensor<Sum, 2>({{N, Dv}})) {}
    void clear() { keys.fill(0), values.fill(0); }
};

// [19.4.6-8] one branch of one query: dense attention's backward over the keys of the row, whose weights are there.
// d_out [Dv] is the gate times that of the whole output.
template <class T, class Sum>
void attend_backward(const Row<T>& row, TensorView<const T, 1> query, TensorView<const T, 2> keys,
                     TensorView<const T, 2> values, double scale, TensorView<const Sum, 1> d_out,
                     TensorView<Sum, 1> d_query, BranchGradients<Sum>& d) {
    std::vector<Sum> d_weights(row.keys.size());
    Sum correction = 0;
    for (int s = 0; s < row.count(); ++s) {
        const int j = row.keys[static_cast<std::size_t>(s)];
        Sum& d_weight = d_weights[static_cast<std::size_t>(s)];
        for (int e = 0; e < d_out.extent(0); ++e) {
            d_weight += d_out(e) * static_cast<Sum>(values(j, e));
            d.values(j, e) += row.weights(s) * d_out(e);
        }
        correction += row.weights(s) * d_weight;
    }
    for (int s = 0; s < row.count(); ++s) {
        const int j = row.keys[static_cast<std::size_t>(s)];
        const Sum d_dot =
            static_cast<Sum>(scale) * row.weights(s) * (d_weights[static_cast<std::size_t>(s)] - correction);
        for (int e = 0; e < query.extent(0); ++e) {
            d_query(e) += d_dot * static_cast<Sum>(keys(j, e));
            d.keys(j, e) += d_dot * static_cast<Sum>(query(e));
        }
    }
}

template <class T>
void naive_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    using Sum = accumulator_t<T>;
    const Sizes size = in.sizes();
    Memory<T> memory(in, options);
    Row<T>& row = memory.row;
    BranchGradients<Sum> d_compressed(options.complete(size.N), size.Dk, size.Dv), d_tokens(size.N, size.Dk, size.Dv),
        d_select = d_tokens, d_window = d_tokens;
    auto d_query = make_tensor<Sum, 1>({{size.Dk}}), d_branch = make_tensor<Sum, 1>({{size.Dv}});
    WeightGradients<Sum> d_key_weights(key_weights(in)), d_value_weights(value_weights(in));
    const auto round = [](const auto& sums, auto to) {
        std::transform(sums.begin(), sums.end(), to.data(), [](Sum sum) { return static_cast<T>(sum); });
    };
    for (int b = 0; b < size.B; ++b)
        for (int g = 0; g < size.G; ++g) {
            memory.compress_head(in, options, b, g, 0, size.N);
            for (auto* gradients : {&d_compressed, &d_tokens, &d_select, &d_window}) gradients->clear();
            for (int h = g * size.group(); h < (g + 1) * size.group(); ++h)
                for (int t = 0; t < size.N; ++t) {
                    const TensorView<const T, 1> query = in.q.slice(b, h, t);
                    d_query.fill(0);
                    // A branch with what it sees in the row: gate number, output, keys, values, their gradients.
                    const auto branch = [&](int gate, TensorView<T, 4> output, TensorView<const T, 2> keys,
                                            TensorView<const T, 2> values, BranchGradients<Sum>& gradients) {
                        // [19.4.6-9] the gate: its gradient is d_out times the branch's output
                        Sum d_gate = 0;
                        for (int e = 0; e < size.Dv; ++e) {
                            const Sum d_out = static_cast<Sum>(in.d_out(b, h, t, e));
                            d_gate += d_out * static_cast<Sum>(output(b, h, t, e));
                            d_branch(e) = static_cast<Sum>(in.gates(b, h, t, gate)) * d_out;
                        }
                        out.d_gates(b, h, t, gate) = static_cast<T>(d_gate);
                        softmax(row, query, keys, options.scale);
                        attend_backward<T, Sum>(row, query, keys, values, options.scale, view(d_branch), view(d_query),
                                                gradients);
                    };
                    see_compressed(row, options, t);
                    branch(0, out.out_compress, memory.compressed_keys(), memory.compressed_values(), d_compressed);
                    see_selected(row, options, TensorView<const std::int32_t, 1>(out.selected.slice(b, g, t)), t);
                    branch(1, out.out_select, in.k_select.slice(b, g), in.v_select.slice(b, g), d_select);
                    see_window(row, options, t);
                    branch(2, out.out_window, in.k_window.slice(b, g), in.v_window.slice(b, g), d_window);
                    for (int e = 0; e < size.Dk; ++e) out.d_q(b, h, t, e) = static_cast<T>(d_query(e));
                }
            compress_backward<T, Sum>(in.k_compress.slice(b, g), key_weights(in), options, memory.mlp,
                                      view(std::as_const(d_compressed.keys)), view(d_tokens.keys), d_key_weights);
            compress_backward<T, Sum>(in.v_compress.slice(b, g), value_weights(in), options, memory.mlp,
                                      view(std::as_const(d_compressed.values)), view(d_tokens.values), d_value_weights);
            round(d_tokens.keys, out.d_k_compress.slice(b, g)), round(d_tokens.values, out.d_v_compress.slice(b, g));
            round(d_select.keys, out.d_k_select.slice(b, g)), round(d_select.values, out.d_v_select.slice(b, g));
            round(d_window.keys, out.d_k_window.slice(b, g)), round(d_window.values, out.d_v_window.slice(b, g));
        }
    round(d_key_weights.weight, out.d_compress_k_weight), round(d_value_weights.weight, out.d_compress_v_weight);
    round(d_key_weights.position, out.d_compress_k_position);
    round(d_value_weights.position, out.d_compress_v_position);
    round(d_key_weights.up, out.d_compress_k_up), round(d_value_weights.up, out.d_compress_v_up);
    round(d_key_weights.down, out.d_compress_k_down), round(d_value_weights.down, out.d_compress_v_down);
}

template <class T>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    naive_forward(in, options, out);
    if (in.d_out) naive_backward(in, options, out);
}

}  // namespace attn::native_sparse
