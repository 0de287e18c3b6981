// What the judges of chapter 06 share: packed documents to draw.
#pragma once

#include "common/tensor/random.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::packed {

// At which position the document of each of n positions begins: documents of 1 … most positions; with a most of 0 a
// single one.
inline Tensor<int, 1> draw_documents(std::uint64_t seed, int n, int most) {
    auto begin = make_tensor<int, 1>({{n}});
    std::uint64_t counter = 0;
    int next = most ? random_integer(seed, counter++, 1, most) : n, current = 0;
    for (int t = 0; t < n; ++t) {
        if (t == next) current = t, next = t + random_integer(seed, counter++, 1, most);
        begin(t) = current;
    }
    return begin;
}

}  // namespace attn::packed
