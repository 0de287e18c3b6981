// What an algorithm costs, in numbers that do not depend on a machine.
#pragma once

#include <cstdint>

namespace attn {

struct Costs {
    std::int64_t multiply_adds = 0;    // a product that is added to a sum
    std::int64_t multiplications = 0;  // the other products
    std::int64_t additions = 0;        // the other sums and differences
    std::int64_t divisions = 0;
    std::int64_t exponentials = 0;
    std::int64_t logarithms = 0;
    std::int64_t square_roots = 0;
    std::int64_t comparisons = 0;
    std::int64_t bytes_held = 0;  // the most memory held at one time beside inputs and outputs

    bool operator==(const Costs&) const = default;
};

}  // namespace attn
