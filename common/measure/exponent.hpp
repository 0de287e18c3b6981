// The exponent of a measured growth.
#pragma once

#include <cmath>
#include <stdexcept>
#include <vector>

namespace attn {

// The slope of log(y) over log(n) by least squares: a for y ~ n^a. At least two sizes, everything positive.
inline double fitted_exponent(const std::vector<double>& n, const std::vector<double>& y) {
    if (n.size() != y.size() || n.size() < 2) throw std::invalid_argument("an exponent needs two or more sizes");
    double mean_x = 0, mean_y = 0;
    for (std::size_t i = 0; i < n.size(); ++i) {
        if (!(n[i] > 0) || !(y[i] > 0)) throw std::invalid_argument("an exponent needs positive measurements");
        mean_x += std::log(n[i]) / static_cast<double>(n.size());
        mean_y += std::log(y[i]) / static_cast<double>(n.size());
    }
    double covariance = 0, variance = 0;
    for (std::size_t i = 0; i < n.size(); ++i) {
        double dx = std::log(n[i]) - mean_x;
        covariance += dx * (std::log(y[i]) - mean_y);
        variance += dx * dx;
    }
    if (variance == 0) throw std::invalid_argument("an exponent needs two different sizes");
    return covariance / variance;
}

}  // namespace attn
