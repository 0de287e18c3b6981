// What the judges of scan_with_resets and scan_chunks_kernel share: the scan without a state, and packed documents to
// draw.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/tensor/random.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::scans {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// The larger one, of numbers that are finite.
inline void raise(double& largest, double candidate) {
    if (std::isfinite(candidate)) largest = std::max(largest, candidate);
}

// Overflows where float does: that is what some of the mistakes are about.
inline double overflow(double x) {
    return std::abs(x) > std::numeric_limits<float>::max() ? std::copysign(HUGE_VAL, x) : x;
}

// What a scan gives, and how large its numbers would be if none of their terms cancelled: a float is that exact.
struct Result {
    Tensor<double, 3> out, last;
    double out_magnitude = 0, last_magnitude = 0;

    template <class Outputs>
    explicit Result(const Outputs& shaped)
        : out(make_tensor<double, 3>(shaped.out.shape(), nan_value)),
          last(make_tensor<double, 3>(shaped.last.shape(), nan_value)) {}
};

inline double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

// There is no state: each number is the sum of what all tokens of the document have left of themselves, from the last
// one back to the first. `step` makes Δ of `delta`.
template <class Inputs, class Step>
void scan_by_sums(const Inputs& in, Step step, Result& result) {
    const int B = in.u.extent(0), D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    for (int b = 0; b < B; ++b)
        for (int d = 0; d < D; ++d) {
            struct Sum {
                double value, absolute;
            };
            const auto state_after = [&](int t, int s) {
                Sum sum{0, 0};
                double faded = 0;  // Σ Δ of the tokens behind the one whose term is added
                const auto add = [&](double term) {
                    const double left = std::exp(in.a(d, s) * faded) * term;
                    sum.value += left, sum.absolute += std::abs(left);
                };
                for (int j = t; j >= 0; --j) {
                    const double delta = step(in.delta(b, d, j));
                    add(delta * in.b(b, s, j) * in.u(b, d, j));
                    if (in.position(b, j) == 0) return sum;
                    faded += delta;
                }
                if (in.initial) add(in.initial(b, d, s));
                return sum;
            };
            for (int t = 0; t < L; ++t) {
                const double skipped = static_cast<double>(in.d(d)) * in.u(b, d, t);
                double y = skipped, absolute = std::abs(skipped);
                for (int s = 0; s < S; ++s) {
                    const Sum state = state_after(t, s);
                    y += in.c(b, s, t) * state.value;
                    absolute += std::abs(in.c(b, s, t)) * state.absolute;
                    if (t == L - 1) result.last(b, d, s) = state.value, raise(result.last_magnitude, state.absolute);
                }
                result.out(b, d, t) = y, raise(result.out_magnitude, absolute);
            }
        }
}

// The state of one channel, and the same of the absolute values.
struct State {
    std::vector<double> h, absolute;  // [S]

    explicit State(int S) : h(static_cast<std::size_t>(S)), absolute(h) {}

    template <class Initial>
    void set(const Initial& initial, int b, int d) {
        for (std::size_t s = 0; s < h.size(); ++s) {
            h[s] = initial ? initial(b, d, static_cast<int>(s)) : 0;
            absolute[s] = std::abs(h[s]);
        }
    }
    void clear() { std::fill(h.begin(), h.end(), 0.0), std::fill(absolute.begin(), absolute.end(), 0.0); }
};

// Where documents begin: at each token with the probability 1/`mean`; at token 0 where `begins`. With a mean of 0
// nowhere else. Between them positions rise by 1 (kind 0), by 1 to 3 (kind 1), or are any that are not 0 (kind 2).
inline void draw_positions(TensorView<int, 1> position, std::uint64_t seed, int mean, bool begins, int kind) {
    std::uint64_t counter = 0;
    int next = begins ? 0 : random_integer(seed, counter++, 1, 50);
    for (int t = 0; t < position.extent(0); ++t) {
        const bool border = t > 0 && mean > 0 && random_integer(seed, counter++, 1, mean) == 1;
        if (border) next = 0;
        position(t) = next;
        next = kind == 2 ? random_integer(seed, counter++, 1, 9)
                         : next + (kind ? random_integer(seed, counter++, 1, 3) : 1);
    }
}

struct Data {
    Tensor<float, 3> u, delta, b, c, initial;
    Tensor<float, 2> a;
    Tensor<float, 1> d;
    Tensor<int, 2> position;
    bool has_initial = false;

    template <class Inputs>
    Inputs inputs() const {
        Inputs in{view(u), view(delta), view(a), view(b), view(c), view(d), view(position), {}};
        if (has_initial) in.initial = view(initial);
        return in;
    }
};

struct Sizes {
    int B, D, L, S;
};

// Documents of `mean` tokens, about; with a mean of 0 a single one. Each sequence has another kind of positions, and
// every other one goes on with a document that was begun before it.
inline Data draw(std::uint64_t seed, const Sizes& size, int mean, bool has_initial, int kind = 0) {
    const auto [B, D, L, S] = size;
    Data data{make_tensor<float, 3>({B, D, L}), make_tensor<float, 3>({B, D, L}), make_tensor<float, 3>({B, S, L}),
              make_tensor<float, 3>({B, S, L}), make_tensor<float, 3>({B, D, S}), make_tensor<float, 2>({D, S}),
              make_tensor<float, 1>({{D}}),     make_tensor<int, 2>({B, L}),      has_initial};
    fill_normal(view(data.u), seed), fill_normal(view(data.delta), seed + 1), fill_normal(view(data.b), seed + 2);
    fill_normal(view(data.c), seed + 3), fill_normal(view(data.initial), seed + 4, 2),
        fill_normal(view(data.d), seed + 5);
    std::uint64_t counter = 0;
    for (float& rate : data.a) rate = static_cast<float>(-0.05 - 0.6 * random_uniform(seed + 6, counter++));
    for (int b = 0; b < B; ++b)
        draw_positions(view(data.position).slice(b), seed + 10 + static_cast<std::uint64_t>(b), mean,
                       (kind / 3 + b) % 2 == 0, (kind + b) % 3);
    return data;
}

}  // namespace attn::scans
