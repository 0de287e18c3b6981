// A problem of Linformer that owns its tensors, in T.
#pragma once

#include "chapters/03_low_rank/linformer_naive.hpp"
#include "common/tensor/random.hpp"

namespace attn::linformer {

template <class T>
struct Problem {
    Sizes size;
    bool shared;  // the projections
    Tensor<T, 4> q, k, v;
    Tensor<T, 3> E, F;  // [1 or H, K, N]
    Tensor<T, 4> out;

    // Projections such that a slot has numbers as large as those of one position.
    Problem(Sizes sizes, bool are_shared, std::uint64_t seed) : size(sizes), shared(are_shared) {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D}),
        k = make_tensor<T, 4>({size.B, size.H, size.N, size.D});
        v = make_tensor<T, 4>({size.B, size.H, size.N, size.Dv});
        E = make_tensor<T, 3>({shared ? 1 : size.H, size.K, size.N}), F = E;
        fill_normal(view(q), 5 * seed), fill_normal(view(k), 5 * seed + 1), fill_normal(view(v), 5 * seed + 2);
        fill_normal(view(E), 5 * seed + 3, 1 / std::sqrt(size.N)),
            fill_normal(view(F), 5 * seed + 4, 1 / std::sqrt(size.N));
        clear();
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, other.shared, 0) {
        const auto copy = [](const auto& from, auto& to) {
            std::transform(from.begin(), from.end(), to.begin(), [](auto value) { return static_cast<T>(value); });
        };
        copy(other.q, q), copy(other.k, k), copy(other.v, v), copy(other.E, E), copy(other.F, F);
    }
    void clear() { out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv}, static_cast<T>(std::nanf(""))); }

    Inputs<T> inputs() const {
        Inputs<T> in{view(q), view(k), view(v), {}, {}, {}, {}};
        if (shared)
            in.key_projection = view(E).slice(0), in.value_projection = view(F).slice(0);
        else
            in.key_projection_of_heads = view(E), in.value_projection_of_heads = view(F);
        return in;
    }
    Outputs<T> outputs() { return {view(out)}; }
    const Tensor<T, 4>& solve(double scale) {
        clear();
        naive(inputs(), {scale}, outputs());
        return out;
    }
};

inline std::string text(const Sizes& s) {
    return "B" + std::to_string(s.B) + " H" + std::to_string(s.H) + " Nq" + std::to_string(s.Nq) + " N" +
           std::to_string(s.N) + " K" + std::to_string(s.K) + " D" + std::to_string(s.D) + " Dv" + std::to_string(s.Dv);
}

}  // namespace attn::linformer
