// Retention, naive: the recurrence, and chunks, of which the parallel form is the case of one. Templated on the scalar.
// The state is kept in accumulator_t<T>: float where T has 16 bits.
//
// The tags name the steps; README.md and `attn trace retention` use the same.
#pragma once

#include <algorithm>

#include "chapters/07_beyond_attention/retention/retention.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::retention {

template <class T, class Sum, class Watch>
void forward_recurrent(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int b, int h,
                       TensorView<Sum, 2> S, Watch watch) {
    const Sizes size = in.sizes();
    const Sum gamma = in.decay(h), scale = static_cast<Sum>(options.scale);
    for (int n = 0; n < size.N; ++n) {
        // [19.4.7-1] state: what was there fades, the token's key times its value is added
        for (int m = 0; m < size.D; ++m)
            for (int d = 0; d < size.Dv; ++d) {
                S(m, d) = gamma * S(m, d);
                S(m, d) += static_cast<Sum>(in.k(b, h, n, m)) * static_cast<Sum>(in.v(b, h, n, d));
            }
        watch("[19.4.7-1] state S = γ S + kᵀ v, a row for each number of the key", S);
        // [19.4.7-2] output: the query against the state
        for (int d = 0; d < size.Dv; ++d) {
            Sum dot = 0;
            for (int m = 0; m < size.D; ++m) dot += static_cast<Sum>(in.q(b, h, n, m)) * S(m, d);
            out.out(b, h, n, d) = static_cast<T>(static_cast<Sum>(scale * dot));
        }
        watch("[19.4.7-2] out = scale · q S", out.out.slice(b, h, n));
    }
}

// In chunks of C tokens. With C = N: all pairs, and the state only at the end.
template <class T, class Sum, class Watch>
void forward_chunked(const Inputs<T>& in, const Options& options, int C, const Outputs<T>& out, int b, int h,
                     TensorView<Sum, 2> S, Watch watch) {
    const Sizes size = in.sizes();
    const Sum gamma = in.decay(h), scale = static_cast<Sum>(options.scale);
    Tensor<Sum, 2> matrix = make_tensor<Sum, 2>({C, C});  // [C, C]: in the parallel form n × n
    Tensor<Sum, 1> of_gamma = make_tensor<Sum, 1>({{C + 1}}), faded = make_tensor<Sum, 1>({{size.D}});
    TensorView<Sum, 2> weights = view(matrix);
    TensorView<Sum, 1> power = view(of_gamma), key = view(faded);
    power(0) = 1;
    for (int i = 1; i <= C; ++i) power(i) = power(i - 1) * gamma;
    for (int first = 0; first < size.N; first += C) {
        const int count = std::min(C, size.N - first);
        const bool has_state = first > 0 || in.initial_state;
        // [19.4.7-3] pairs: q_i·k_j γ^(i-j), j ≤ i
        for (int i = 0; i < count; ++i)
            for (int j = 0; j <= i; ++j) {
                Sum dot = 0;
                for (int m = 0; m < size.D; ++m)
                    dot += static_cast<Sum>(in.q(b, h, first + i, m)) * static_cast<Sum>(in.k(b, h, first + j, m));
                weights(i, j) = dot * power(i - j);
            }
        watch("[19.4.7-3] weights of the pairs = q kᵀ ∘ γ^(i-j)", weights);
        for (int i = 0; i < count; ++i)
            for (int d = 0; d < size.Dv; ++d) {
                // [19.4.7-4] output: the pairs, and what came before the chunk, which has faded since
                Sum sum = 0;
                for (int j = 0; j <= i; ++j) sum += weights(i, j) * static_cast<Sum>(in.v(b, h, first + j, d));
                if (has_state) {
                    Sum dot = 0;
                    for (int m = 0; m < size.D; ++m) dot += static_cast<Sum>(in.q(b, h, first + i, m)) * S(m, d);
                    sum += static_cast<Sum>(power(i + 1) * dot);
                }
                out.out(b, h, first + i, d) = static_cast<T>(static_cast<Sum>(scale * sum));
            }
        watch("[19.4.7-4] out, all rows so far", out.out.slice(b, h));
        // [19.4.7-5] state after the chunk: a key fades with the tokens behind it
        for (int m = 0; m < size.D; ++m)
            for (int d = 0; d < size.Dv; ++d) S(m, d) = power(count) * S(m, d);
        for (int j = 0; j < count; ++j) {
            for (int m = 0; m < size.D; ++m) key(m) = power(count - 1 - j) * static_cast<Sum>(in.k(b, h, first + j, m));
            for (int m = 0; m < size.D; ++m)
                for (int d = 0; d < size.Dv; ++d) S(m, d) += key(m) * static_cast<Sum>(in.v(b, h, first + j, d));
        }
        watch("[19.4.7-5] state S after the chunk", S);
    }
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    check_inputs(in);
    const Sizes size = in.sizes();
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            Tensor<Sum, 2> state = make_tensor<Sum, 2>({size.D, size.Dv});
            if (in.initial_state)
                for (int m = 0; m < size.D; ++m)
                    for (int d = 0; d < size.Dv; ++d) state(m, d) = in.initial_state(b, h, m, d);
            if (options.form == Form::recurrent)
                forward_recurrent(in, options, out, b, h, view(state), watch);
            else
                forward_chunked(in, options, options.form == Form::parallel ? size.N : std::min(options.chunk, size.N),
                                out, b, h, view(state), watch);
            for (int m = 0; m < size.D; ++m)
                for (int d = 0; d < size.Dv; ++d) out.state(b, h, m, d) = state(m, d);
        }
}

}  // namespace attn::retention
