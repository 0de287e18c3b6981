#include "common/tensor/compare.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace attn {

namespace {

std::vector<double> as_doubles(const Array& array) {
    std::vector<double> values(static_cast<std::size_t>(array.count()));
    auto copy = [&](const auto* data) { std::copy(data, data + values.size(), values.begin()); };
    switch (array.dtype) {
        case DType::float32: copy(array.data<float>()); break;
        case DType::float64: copy(array.data<double>()); break;
        case DType::int32: copy(array.data<std::int32_t>()); break;
        case DType::int64: copy(array.data<std::int64_t>()); break;
    }
    return values;
}

bool same_non_finite(double a, double b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

}  // namespace

Comparison compare(const Array& result, const Array& reference, double bound, double element_factor) {
    if (result.shape != reference.shape)
        throw std::invalid_argument("cannot compare " + shape_text(result.shape) + " with " +
                                    shape_text(reference.shape));
    bool integers = reference.dtype == DType::int32 || reference.dtype == DType::int64;
    std::vector<double> out = as_doubles(result), ref = as_doubles(reference);
    double largest = 0, error_squares = 0, reference_squares = 0;
    for (double value : ref)
        if (std::isfinite(value)) largest = std::max(largest, std::abs(value)), reference_squares += value * value;
    double element_bound = integers ? 0 : bound * element_factor * (largest > 0 ? largest : 1);

    Comparison comparison;
    comparison.bound = integers ? 0 : bound;
    double worst_error = -1;
    for (std::size_t index = 0; index < out.size(); ++index) {
        bool is_wrong = false;
        if (!std::isfinite(out[index]) || !std::isfinite(ref[index])) {
            is_wrong = !same_non_finite(out[index], ref[index]);
            if (is_wrong && ++comparison.misplaced == 1) comparison.worst = static_cast<std::int64_t>(index);
        } else {
            double error = std::abs(out[index] - ref[index]);
            error_squares += error * error;
            comparison.max_absolute_error = std::max(comparison.max_absolute_error, error);
            is_wrong = !(error <= element_bound);
            if (error > worst_error && comparison.misplaced == 0)
                worst_error = error, comparison.worst = static_cast<std::int64_t>(index);
        }
        if (is_wrong && ++comparison.wrong == 1) comparison.first_wrong = static_cast<std::int64_t>(index);
    }
    comparison.relative_error =
        reference_squares > 0 ? std::sqrt(error_squares / reference_squares) : std::sqrt(error_squares);
    comparison.within = comparison.wrong == 0 && comparison.relative_error <= comparison.bound;
    return comparison;
}

std::string index_text(const std::vector<std::int64_t>& shape, std::int64_t position) {
    std::string text;
    for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) {
        text = std::to_string(position % *extent) + (text.empty() ? "" : "," + text);
        position /= *extent;
    }
    return "(" + text + ")";
}

}  // namespace attn
