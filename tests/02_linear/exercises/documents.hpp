// What the judges of document_recurrence and document_chunks share: features, the sums over a document's tokens, with
// the mistakes that are made in them, and documents to draw.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "common/tensor/random.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::documents {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// Overflows where float does: that is what some of the mistakes are about.
inline double overflow(double x) {
    return std::abs(x) > std::numeric_limits<float>::max() ? std::copysign(HUGE_VAL, x) : x;
}

inline double feature(double x, std::string_view mistake) {
    const float exponential = std::exp(static_cast<float>(x));
    if (mistake == "relu") return x > 0 ? x : 0;
    if (mistake == "exp_everywhere") return exponential;
    if (mistake == "branches_blended") return (x > 0) * (x + 1) + (x <= 0) * exponential;
    if (mistake == "expm1_plus_1" && x <= 0) return std::expm1(static_cast<float>(x)) + 1.0f;
    return x > 0 ? x + 1 : std::exp(x);
}

inline double query_feature(double x, int D, std::string_view mistake) {
    if (mistake == "phi_of_query_missing") return x;
    return feature(mistake == "query_scaled" ? x / std::sqrt(D) : x, mistake);
}

inline double key_feature(double x, std::string_view mistake) {
    return mistake == "phi_of_key_missing" ? x : feature(x, mistake);
}

inline double value(double x, std::string_view mistake) { return mistake == "phi_of_value" ? feature(x, mistake) : x; }

// The larger one, of numbers that are finite.
inline void raise(double& largest, double candidate) {
    if (std::isfinite(candidate)) largest = std::max(largest, candidate);
}

// S = Σ phi(k) v and z = Σ phi(k), and the same of the absolute values, which tell how exact a float can be.
struct State {
    std::vector<double> S, S_absolute;  // [D, Dv]
    std::vector<double> z, z_absolute;  // [D]

    State(int D, int Dv)
        : S(static_cast<std::size_t>(D * Dv)), S_absolute(S), z(static_cast<std::size_t>(D)), z_absolute(z) {}

    void clear_state() { std::fill(S.begin(), S.end(), 0.0), std::fill(S_absolute.begin(), S_absolute.end(), 0.0); }
    void clear_normalizer() {
        std::fill(z.begin(), z.end(), 0.0), std::fill(z_absolute.begin(), z_absolute.end(), 0.0);
    }
    void clear() { clear_state(), clear_normalizer(); }

    void add(TensorView<const float, 1> k, TensorView<const float, 1> v, std::string_view mistake, double factor = 1) {
        const std::size_t D = z.size(), Dv = S.size() / D;
        for (std::size_t d = 0; d < D; ++d) {
            const double key = key_feature(k(static_cast<int>(d)), mistake) * factor;
            z[d] = overflow(z[d] + key), z_absolute[d] += std::abs(key);
            for (std::size_t e = 0; e < Dv; ++e) {
                const double term = overflow(key * value(v(static_cast<int>(e)), mistake));
                S[d * Dv + e] = overflow(S[d * Dv + e] + term), S_absolute[d * Dv + e] += std::abs(term);
            }
        }
    }
};

// Numerator and denominator of one query's output, and the same of the absolute values.
struct Fraction {
    std::vector<double> numerator, numerator_absolute;  // [Dv]
    double denominator = 0, denominator_absolute = 0;

    explicit Fraction(int Dv) : numerator(static_cast<std::size_t>(Dv)), numerator_absolute(numerator) {}

    void add(TensorView<const float, 1> q, const State& state, std::string_view mistake) {
        const std::size_t D = state.z.size(), Dv = numerator.size();
        for (std::size_t d = 0; d < D; ++d) {
            const double query = query_feature(q(static_cast<int>(d)), static_cast<int>(D), mistake);
            denominator = overflow(denominator + overflow(query * state.z[d]));
            denominator_absolute += std::abs(query * state.z_absolute[d]);
            for (std::size_t e = 0; e < Dv; ++e) {
                numerator[e] = overflow(numerator[e] + overflow(query * state.S[d * Dv + e]));
                numerator_absolute[e] += std::abs(query * state.S_absolute[d * Dv + e]);
            }
        }
    }

    void add(double weight, TensorView<const float, 1> v, std::string_view mistake) {
        denominator = overflow(denominator + weight);
        denominator_absolute += std::abs(weight);
        for (std::size_t e = 0; e < numerator.size(); ++e) {
            const double term = overflow(weight * value(v(static_cast<int>(e)), mistake));
            numerator[e] = overflow(numerator[e] + term);
            numerator_absolute[e] += std::abs(term);
        }
    }

    // By how much an output may be wrong in float, relative to its rounding: where terms cancel, many times.
    double magnitude(double divisor) const {
        double largest = 0;
        for (double sum : numerator_absolute)
            raise(largest, sum / std::abs(divisor) * std::max(1.0, denominator_absolute / std::abs(divisor)));
        return largest;
    }
};

// Where documents begin: at the first token, and at each other one with the probability 1/`mean`.
inline std::vector<int> draw_borders(std::uint64_t seed, int N, int mean) {
    std::vector<int> borders{0};
    for (int i = 1; i < N; ++i)
        if (random_integer(seed, static_cast<std::uint64_t>(i), 1, mean) == 1) borders.push_back(i);
    return borders;
}

// Numbers for documents that begin there: kind 0 rises by 1, 1 falls by more, 2 goes to and fro between two numbers, 3
// has any of a few.
inline void number_documents(TensorView<int, 1> document, const std::vector<int>& borders, std::uint64_t seed,
                             int kind) {
    int number = kind == 3 ? random_integer(seed, 0, -2, 2) : kind == 0 ? 0 : 5;
    std::uint64_t counter = 1;
    for (std::size_t which = 0; which < borders.size(); ++which) {
        const int end = which + 1 < borders.size() ? borders[which + 1] : document.extent(0);
        for (int i = borders[which]; i < end; ++i) document(i) = number;
        if (kind == 0) number += 1;
        if (kind == 1) number -= random_integer(seed, counter++, 1, 9);
        if (kind == 2) number = 7 - number;
        if (kind == 3) number = (number + 2 + random_integer(seed, counter++, 1, 4)) % 5 - 2;
    }
}

}  // namespace attn::documents
