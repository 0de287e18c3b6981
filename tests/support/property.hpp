// The comparison that the property tests of all chapters use.
#pragma once

#include <cmath>

#include "common/tensor/tensor_view.hpp"

namespace attn::testing {

// ‖a − b‖ / ‖b‖, or ‖a − b‖ where b is zero. NaN where an element of one is not finite and the other's is not the same.
template <class A, class B, int N>
double relative_error(TensorView<A, N> a, TensorView<B, N> b) {
    double difference = 0, reference = 0;
    for (std::int64_t index = 0; index < a.count(); ++index) {
        double x = static_cast<double>(a.data()[index]), y = static_cast<double>(b.data()[index]);
        if (x == y || (std::isnan(x) && std::isnan(y))) {
            if (std::isfinite(y)) reference += y * y;
            continue;
        }
        if (!std::isfinite(x) || !std::isfinite(y)) return std::nan("");
        difference += (x - y) * (x - y);
        reference += y * y;
    }
    return std::sqrt(reference > 0 ? difference / reference : difference);
}

}  // namespace attn::testing
