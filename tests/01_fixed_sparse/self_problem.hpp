// Queries, keys, values and the output of self-attention, owned, in T; and checks that are the same for the three
// mechanisms that have these.
#pragma once

#include "chapters/01_fixed_sparse/self_attention.hpp"
#include "common/measure/exponent.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/tensor/random.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/01_fixed_sparse/masked_dense.hpp"

namespace attn::fixed_sparse {

template <class T>
struct SelfProblem {
    Sizes size;
    Tensor<T, 4> q, k, v, out;

    SelfProblem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        q = make_tensor<T, 4>({size.B, size.H, size.N, size.D}), k = q;
        v = make_tensor<T, 4>({size.B, size.H, size.N, size.Dv});
        fill_normal(view(q), 6 * seed), fill_normal(view(k), 6 * seed + 1), fill_normal(view(v), 6 * seed + 2);
        clear();
    }
    template <class U>
    explicit SelfProblem(const SelfProblem<U>& other) : SelfProblem(other.size, 0) {
        copy(other.q, q), copy(other.k, k), copy(other.v, v);
    }
    void clear() { out = make_tensor<T, 4>(view(v).shape(), static_cast<T>(std::nanf(""))); }
    Inputs<T> inputs() const { return {view(q), view(k), view(v)}; }
    Outputs<T> outputs() { return {view(out)}; }

  protected:
    template <class From, class To>
    static void copy(const From& from, To& to) {
        std::transform(from.begin(), from.end(), to.begin(),
                       [](auto value) { return static_cast<typename To::value_type>(value); });
    }
};

inline std::string text(const Sizes& s) {
    return "B" + std::to_string(s.B) + " H" + std::to_string(s.H) + " N" + std::to_string(s.N) + " D" +
           std::to_string(s.D) + " Dv" + std::to_string(s.Dv);
}

// The growth of the multiply-adds that the naive version really does.
inline double counted_exponent(const char* mechanism, const std::vector<int>& sizes) {
    std::vector<double> n, work;
    for (int size : sizes) {
        const Costs costs = find_mechanism(mechanism)->counted_costs(find_mechanism(mechanism)->sized_case(size));
        n.push_back(size), work.push_back(static_cast<double>(costs.multiply_adds));
    }
    return fitted_exponent(n, work);
}

// Dense attention in double over the set of each row, for all heads.
inline Tensor<double, 4> by_sets(const SelfProblem<double>& p, double scale,
                                 const std::function<Set(int h, int i)>& set) {
    Tensor<double, 4> out = p.v;
    for (int h = 0; h < p.size.H; ++h) {
        const Matrix mask = mask_of(p.size.N, p.size.N, [&](int i) { return set(h, i); });
        for (int b = 0; b < p.size.B; ++b) {
            const Matrix q = xt::view(p.q, b, h), k = xt::view(p.k, b, h), v = xt::view(p.v, b, h);
            xt::view(out, b, h) = masked_dense(q, k, v, scale, mask);
        }
    }
    return out;
}

}  // namespace attn::fixed_sparse
