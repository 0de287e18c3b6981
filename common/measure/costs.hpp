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

    // The operations of `other`, so many times. Memory is not a sum: bytes_held stays.
    void add_operations(const Costs& other, std::int64_t times = 1) {
        multiply_adds += times * other.multiply_adds;
        multiplications += times * other.multiplications;
        additions += times * other.additions;
        divisions += times * other.divisions;
        exponentials += times * other.exponentials;
        logarithms += times * other.logarithms;
        square_roots += times * other.square_roots;
        comparisons += times * other.comparisons;
    }
};

}  // namespace attn
