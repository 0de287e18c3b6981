// A problem of sliding-window attention that owns its tensors, in T.
#pragma once

#include "chapters/01_fixed_sparse/sliding_window/sliding_window_naive.hpp"
#include "common/tensor/random.hpp"

namespace attn::sliding_window {

template <class T>
struct Problem {
    Sizes size;
    Tensor<T, 4> q, k, v, d_out, out, d_q, d_k, d_v;
    Tensor<T, 3> log_sum_exp;

    Problem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D}),
        k = make_tensor<T, 4>({size.B, size.G, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.G, size.Nk, size.Dv});
        d_out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv});
        fill_normal(view(q), 4 * seed), fill_normal(view(k), 4 * seed + 1), fill_normal(view(v), 4 * seed + 2);
        fill_normal(view(d_out), 4 * seed + 3);
        clear();
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, 0) {
        const auto copy = [](const auto& from, auto& to) {
            std::transform(from.begin(), from.end(), to.begin(), [](auto value) { return static_cast<T>(value); });
        };
        copy(other.q, q), copy(other.k, k), copy(other.v, v), copy(other.d_out, d_out);
    }
    void clear() {
        const T poison = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 4>(view(d_out).shape(), poison);
        log_sum_exp = make_tensor<T, 3>({size.B, size.H, size.Nq}, poison);
        d_q = make_tensor<T, 4>(view(q).shape(), poison), d_k = make_tensor<T, 4>(view(k).shape(), poison);
        d_v = make_tensor<T, 4>(view(v).shape(), poison);
    }
    Inputs<T> inputs(bool backward = false) const {
        return {view(q), view(k), view(v), backward ? view(d_out) : TensorView<const T, 4>{}};
    }
    Outputs<T> outputs(bool backward = false) {
        Outputs<T> result{view(out), view(log_sum_exp), {}, {}, {}};
        if (backward) result.d_q = view(d_q), result.d_k = view(d_k), result.d_v = view(d_v);
        return result;
    }
    const Tensor<T, 4>& solve(const Options& options, bool backward = false) {
        clear();
        naive(inputs(backward), options, outputs(backward));
        return out;
    }
};

inline std::string text(const Sizes& s, const Options& options) {
    return "B" + std::to_string(s.B) + " H" + std::to_string(s.H) + " G" + std::to_string(s.G) + " Nq" +
           std::to_string(s.Nq) + " Nk" + std::to_string(s.Nk) + " D" + std::to_string(s.D) + " Dv" +
           std::to_string(s.Dv) + " W" + std::to_string(options.window) + " s" + std::to_string(options.sinks);
}

}  // namespace attn::sliding_window
