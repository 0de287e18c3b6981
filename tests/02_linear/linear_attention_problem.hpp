// Linear attention problems that own their tensors, for the tests.
#pragma once

#include <cstring>

#include "chapters/02_linear/linear_attention/linear_attention.hpp"
#include "common/tensor/random.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

namespace attn::testing {

template <class T>
struct LinearProblem {
    linear_attention::Sizes size;
    linear_attention::Options options;
    Tensor<T, 4> q, k, v, d_out, out, state, d_q, d_k, d_v, initial_state;
    Tensor<T, 3> normalizer, initial_normalizer;
    bool backward = false, continues = false;

    LinearProblem(linear_attention::Sizes sizes, linear_attention::Options with, std::uint64_t seed)
        : size(sizes), options(with) {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D});
        k = make_tensor<T, 4>({size.B, size.H, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.H, size.Nk, size.Dv});
        d_out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv});
        initial_state = make_tensor<T, 4>({size.B, size.H, size.D, size.Dv});
        initial_normalizer = make_tensor<T, 3>({size.B, size.H, size.D});
        fill_normal(view(q), seed), fill_normal(view(k), seed + 1), fill_normal(view(v), seed + 2);
        fill_normal(view(d_out), seed + 3);
        clear();
    }
    template <class U>
    explicit LinearProblem(const LinearProblem<U>& other) : LinearProblem(other.size, other.options, 0) {
        std::copy(other.q.begin(), other.q.end(), q.begin()), std::copy(other.k.begin(), other.k.end(), k.begin());
        std::copy(other.v.begin(), other.v.end(), v.begin());
        std::copy(other.d_out.begin(), other.d_out.end(), d_out.begin());
        std::copy(other.initial_state.begin(), other.initial_state.end(), initial_state.begin());
        std::copy(other.initial_normalizer.begin(), other.initial_normalizer.end(), initial_normalizer.begin());
        backward = other.backward, continues = other.continues;
    }
    void clear() {
        const T nan = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv}, nan);
        state = make_tensor<T, 4>({size.B, size.H, size.D, size.Dv}, nan);
        normalizer = make_tensor<T, 3>({size.B, size.H, size.D}, nan);
        d_q = make_tensor<T, 4>(view(q).shape(), nan), d_k = make_tensor<T, 4>(view(k).shape(), nan);
        d_v = make_tensor<T, 4>(view(v).shape(), nan);
    }
    linear_attention::Inputs<T> inputs() const {
        linear_attention::Inputs<T> in{view(q), view(k), view(v), {}, {}, {}};
        if (backward) in.d_out = view(d_out);
        if (continues) in.initial_state = view(initial_state), in.initial_normalizer = view(initial_normalizer);
        return in;
    }
    linear_attention::Outputs<T> outputs() {
        linear_attention::Outputs<T> result{view(out), {}, {}, {}, {}, {}};
        if (options.causal) result.state = view(state), result.normalizer = view(normalizer);
        if (backward) result.d_q = view(d_q), result.d_k = view(d_k), result.d_v = view(d_v);
        return result;
    }
    // The tokens first … first + count - 1 alone, beginning where `before` has ended.
    LinearProblem tokens(int first, int count, const LinearProblem* before = nullptr) const {
        LinearProblem part({size.B, size.H, count, count, size.D, size.Dv}, options, 0);
        part.q = xt::view(q, xt::all(), xt::all(), xt::range(first, first + count));
        part.k = xt::view(k, xt::all(), xt::all(), xt::range(first, first + count));
        part.v = xt::view(v, xt::all(), xt::all(), xt::range(first, first + count));
        if (before) {
            part.continues = true;
            part.initial_state = before->state, part.initial_normalizer = before->normalizer;
        }
        return part;
    }
};

// Outputs of the tokens first … first + count - 1.
template <class T>
Tensor<T, 4> tokens_of(const Tensor<T, 4>& tensor, int first, int count) {
    return xt::view(tensor, xt::all(), xt::all(), xt::range(first, first + count));
}

// Around the edges of chunks of 32 and tiles of 64, from the seed; 16-byte rows in a third of them.
inline linear_attention::Sizes generated_linear_sizes(std::uint64_t seed, bool causal) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    linear_attention::Sizes size{pick(1, 1, 2), pick(2, 1, 3), pick(3, 1, 70), 0, pick(5, 1, 70), pick(6, 1, 80)};
    size.Nk = causal ? size.Nq : pick(4, 1, 70);
    constexpr int usual[] = {16, 32, 64, 128};
    if (seed % 3 == 0) size.D = usual[seed % 4], size.Dv = usual[seed / 3 % 4];
    return size;
}

}  // namespace attn::testing
