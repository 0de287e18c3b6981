// The rows W of Performer's features: independent, or orthogonal in blocks of D rows, which lowers the variance.
// Choromanski et al. 2021 (arXiv 2009.14794), section 2.4.
#pragma once

#include <cmath>
#include <numbers>

#include "common/tensor/random.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::performer {

// Normal by Box and Muller: its tails have no end, unlike random_normal's.
inline double gaussian(std::uint64_t seed, std::uint64_t counter) {
    const double u = random_uniform(seed, 2 * counter), angle = random_uniform(seed, 2 * counter + 1);
    return std::sqrt(-2 * std::log1p(-u)) * std::cos(2 * std::numbers::pi * angle);
}

inline Tensor<double, 2> independent_features(int M, int D, std::uint64_t seed) {
    Tensor<double, 2> w = make_tensor<double, 2>({M, D});
    for (int f = 0; f < M; ++f)
        for (int d = 0; d < D; ++d) w(f, d) = gaussian(seed, static_cast<std::uint64_t>(f) * D + d);
    return w;
}

// How the columns of the Q of a QR decomposition are signed. Householder's leaves the sign of R's diagonal to the
// matrix; the first element of its first column is then always negative, and directions are not uniform. With the signs
// of the diagonal moved into Q, they are: Mezzadri 2007, "How to generate random matrices from the classical compact
// groups" (arXiv math-ph/0609050). Released implementations of Performer leave this out.
enum class Signs { corrected, as_decomposed };

// The Q of the QR decomposition of a square matrix, by Householder reflections.
inline Tensor<double, 2> orthogonal_factor(Tensor<double, 2> a, Signs signs) {
    const int n = static_cast<int>(a.shape()[0]);
    Tensor<double, 2> q = make_tensor<double, 2>({n, n});
    for (int i = 0; i < n; ++i) q(i, i) = 1;
    for (int column = 0; column < n; ++column) {
        if (column + 1 < n) {  // the last column has nothing below its diagonal to reflect
            double norm = 0;
            for (int i = column; i < n; ++i) norm += a(i, column) * a(i, column);
            norm = std::sqrt(norm);
            Tensor<double, 1> u = make_tensor<double, 1>({{n}});
            for (int i = column; i < n; ++i) u(i) = a(i, column);
            u(column) += a(column, column) > 0 ? norm : -norm;  // R's diagonal gets the sign that loses no digits
            double squares = 0;
            for (int i = column; i < n; ++i) squares += u(i) * u(i);
            for (int c = 0; squares > 0 && c < n; ++c) {
                double of_a = 0, of_q = 0;
                for (int i = column; i < n; ++i) of_a += u(i) * a(i, c), of_q += u(i) * q(c, i);
                for (int i = column; i < n; ++i)
                    a(i, c) -= 2 * of_a / squares * u(i), q(c, i) -= 2 * of_q / squares * u(i);
            }
        }
        if (signs == Signs::corrected && a(column, column) < 0)
            for (int i = 0; i < n; ++i) q(i, column) = -q(i, column);
    }
    return q;
}

// [M, D]: blocks of D rows, orthogonal to each other, each as long as an independent normal row; the last block may be
// cut short.
inline Tensor<double, 2> orthogonal_features(int M, int D, std::uint64_t seed, Signs signs = Signs::corrected) {
    Tensor<double, 2> w = make_tensor<double, 2>({M, D});
    for (int first = 0; first < M; first += D) {
        const std::uint64_t of_block = random_bits(seed, static_cast<std::uint64_t>(first));
        const Tensor<double, 2> q = orthogonal_factor(independent_features(D, D, of_block), signs);
        const Tensor<double, 2> lengths = independent_features(D, D, ~of_block);
        for (int f = 0; f < D && first + f < M; ++f) {
            double squares = 0;
            for (int d = 0; d < D; ++d) squares += lengths(f, d) * lengths(f, d);
            for (int d = 0; d < D; ++d) w(first + f, d) = std::sqrt(squares) * q(d, f);
        }
    }
    return w;
}

}  // namespace attn::performer
