// Random numbers that are the same on every machine, compiler and thread count: each is a pure function of the seed
// and of its position (a counter-based generator), computed in integers and exact floating point only.
#pragma once

#include <cstdint>

#include "common/tensor/tensor_view.hpp"

namespace attn {

// 64 well-mixed bits for position `counter` of stream `seed`: the finaliser of SplitMix64 (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", OOPSLA 2014), applied to the seed and to the counter.
constexpr std::uint64_t random_bits(std::uint64_t seed, std::uint64_t counter) {
    auto mix = [](std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    };
    return mix(mix(seed + 0x9e3779b97f4a7c15u) + (counter + 1) * 0x9e3779b97f4a7c15u);
}

// Uniform in [0, 1), a multiple of 2^-24: exact in float and in double.
constexpr double random_uniform(std::uint64_t seed, std::uint64_t counter) {
    return static_cast<double>(random_bits(seed, counter) >> 40) * 0x1p-24;
}

// An integer in low … high, both included; the bias is below (high - low) / 2^64.
constexpr int random_integer(std::uint64_t seed, std::uint64_t counter, int low, int high) {
    auto range = static_cast<std::uint64_t>(high - low) + 1;
    return low + static_cast<int>(random_bits(seed, counter) % range);
}

// Close to normal (mean 0, variance 1): the sum of twelve 16-bit uniforms, centred. No libm, so no last bit that
// differs from machine to machine; the price is that nothing is farther than 6 from 0.
constexpr double random_normal(std::uint64_t seed, std::uint64_t counter) {
    std::int64_t sum = 0;
    for (std::uint64_t word = 0; word < 3; ++word) {
        std::uint64_t bits = random_bits(seed, 3 * counter + word);
        for (int chunk = 0; chunk < 4; ++chunk) sum += static_cast<std::int64_t>((bits >> (16 * chunk)) & 0xffff);
    }
    return static_cast<double>(2 * sum - 12 * 65535) * 0x1p-17;
}

template <class T, int N>
void fill_normal(TensorView<T, N> tensor, std::uint64_t seed, double factor = 1) {
    for (std::int64_t index = 0; index < tensor.count(); ++index)
        tensor.data()[index] = static_cast<T>(factor * random_normal(seed, static_cast<std::uint64_t>(index)));
}

}  // namespace attn
