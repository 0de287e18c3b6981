// How an output is held against a reference.
#pragma once

#include <string>

#include "common/tensor/npy.hpp"

namespace attn {

struct Comparison {
    double relative_error = 0;  // ‖out − ref‖ / ‖ref‖ over the finite elements; ‖out − ref‖ where ‖ref‖ = 0
    double max_absolute_error = 0;              // over the finite elements
    std::int64_t misplaced = 0;                 // elements where NaN or an infinity stands in one of the two only
    std::int64_t wrong = 0;                     // misplaced, or off by more than the bound for single elements
    std::int64_t first_wrong = -1, worst = -1;  // positions in memory; worst is misplaced if anything is
    double bound = 0;                           // of the relative error; 0 for integers, which must be equal
    bool within = false;
};

// `element_factor`: no single element may be off by more than this many bounds, relative to the largest element of the
// reference: 30, or 5 in 16-bit precision. Throws std::invalid_argument where the shapes differ.
Comparison compare(const Array& result, const Array& reference, double bound, double element_factor);

// "(1,0,7,3)": the position as indices.
std::string index_text(const std::vector<std::int64_t>& shape, std::int64_t position);

}  // namespace attn
