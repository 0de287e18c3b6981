// The scan of Mamba-2: all channels of a head fade alike, by one number for each token. Then it is two things at once,
// a recurrence and masked attention without a softmax: state space duality.
//
//     recurrence    h_t = a_t h_{t-1} + k_tᵀ v_t,  out_t = q_t h_t         q is C, k is B, v is Δ u, a = exp(Δ A)
//     attention     out = (Q Kᵀ ∘ M) V,  M_ij = a_{j+1} ⋯ a_i for i ≥ j, else 0
//
// Dao and Gu 2024, "Transformers are SSMs" (arXiv 2405.21060), sections 3 and 5. Naive, of one head.
#pragma once

#include "common/mechanism/layer.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::state_space_dual {

template <class T>
struct Inputs {
    TensorView<const T, 2> q, k;       // [L, N]
    TensorView<const T, 2> v;          // [L, P]
    TensorView<const T, 1> log_decay;  // [L]: Δ_t A, not above 0
};

// out [L, P], token by token.
template <class T>
void recurrent(const Inputs<T>& in, TensorView<T, 2> out) {
    using std::exp;
    const int L = in.q.extent(0), N = in.q.extent(1), P = in.v.extent(1);
    Tensor<T, 2> state = make_tensor<T, 2>({N, P}, T(0));
    for (int t = 0; t < L; ++t) {
        const T fades = exp(in.log_decay(t));
        for (int n = 0; n < N; ++n)
            for (int p = 0; p < P; ++p) state(n, p) = fades * state(n, p) + in.k(t, n) * in.v(t, p);
        for (int p = 0; p < P; ++p) {
            T sum = 0;
            for (int n = 0; n < N; ++n) sum += in.q(t, n) * state(n, p);
            out(t, p) = sum;
        }
    }
}

// The matrix [L, L] that multiplies V. What lies between two tokens is summed up as logarithms: a product of many
// decays is 0 long before the one that is asked for, and dividing by it is no way back.
template <class T>
void weights(const Inputs<T>& in, TensorView<T, 2> m) {
    using std::exp;
    for (int i = 0; i < m.extent(0); ++i) {
        T between = 0;
        for (int j = m.extent(1) - 1; j >= 0; --j) {
            m(i, j) = j > i ? T(0) : dot(in.q.slice(i), in.k.slice(j)) * exp(between);
            if (j <= i) between += in.log_decay(j);
        }
    }
}

// out [L, P], as masked attention.
template <class T>
void attention(const Inputs<T>& in, TensorView<T, 2> out) {
    const int L = in.q.extent(0), P = in.v.extent(1);
    Tensor<T, 2> matrix = make_tensor<T, 2>({L, L});
    weights(in, view(matrix));
    for (int i = 0; i < L; ++i)
        for (int p = 0; p < P; ++p) {
            T sum = 0;
            for (int j = 0; j <= i; ++j) sum += matrix(i, j) * in.v(j, p);
            out(i, p) = sum;
        }
}

}  // namespace attn::state_space_dual
