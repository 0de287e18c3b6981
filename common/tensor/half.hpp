// The two 16-bit floating-point formats, as storage: attn::float16 (IEEE binary16) and attn::bfloat16.
//
//                sign  exponent  mantissa   largest   smallest normal   epsilon
//   float16        1       5        10       65504         2^-14         2^-10
//   bfloat16       1       8         7      3.39e38        2^-126        2^-7
//
// They hold two bytes and convert; they do not compute. Arithmetic happens in float, as on a tensor core, and is
// rounded when it is stored: that is why they convert to float by themselves, and back only when asked.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace attn {

namespace detail {

enum class Rounding { nearest_even, toward_zero, down, up };

struct Float16Format {
    static constexpr int kExponentBits = 5, kMantissaBits = 10;
};
struct Bfloat16Format {
    static constexpr int kExponentBits = 8, kMantissaBits = 7;
};

template <class Format>
struct Layout {
    static constexpr int kBias = (1 << (Format::kExponentBits - 1)) - 1;
    static constexpr std::uint16_t kSign = 0x8000;
    static constexpr std::uint16_t kInfinity = ((1u << Format::kExponentBits) - 1) << Format::kMantissaBits;
    static constexpr std::uint16_t kNaN = 0x7fff;  // the one NaN that GPUs produce: quiet, positive
};

// The bits of `value` in a 16-bit format, rounded once, whether it comes from a float or from a double.
template <class Format, Rounding kRounding = Rounding::nearest_even, std::floating_point Source>
constexpr std::uint16_t narrow(Source value) {
    using Bits = std::conditional_t<sizeof(Source) == 4, std::uint32_t, std::uint64_t>;
    static_assert(sizeof(Bits) == sizeof(Source));
    using Target = Layout<Format>;
    constexpr int kWidth = std::numeric_limits<Bits>::digits;
    constexpr int kSourceMantissaBits = std::numeric_limits<Source>::digits - 1;
    constexpr int kExtraBits = kSourceMantissaBits - Format::kMantissaBits;
    constexpr int kRebias = std::numeric_limits<Source>::max_exponent - 1 - Target::kBias;
    constexpr Bits kHiddenBit = Bits{1} << kSourceMantissaBits;
    constexpr Bits kSourceInfinity = std::bit_cast<Bits>(std::numeric_limits<Source>::infinity());

    const Bits bits = std::bit_cast<Bits>(value);
    const auto sign = static_cast<std::uint16_t>(bits >> (kWidth - 16) & Target::kSign);
    Bits magnitude = bits & (~Bits{0} >> 1);
    if (magnitude > kSourceInfinity) return Target::kNaN;
    if (magnitude == kSourceInfinity) return sign | Target::kInfinity;

    // The exponent is moved into the target's range. Below it lie the subnormal numbers: they have the exponent 0, and
    // the significand, its hidden bit now written out, gives up one more bit for each power of two.
    int dropped_bits = kExtraBits;
    const int exponent = static_cast<int>(magnitude >> kSourceMantissaBits);
    if (kRebias > 0 && exponent <= kRebias) {
        magnitude &= kHiddenBit - 1;
        if (exponent > 0) magnitude |= kHiddenBit;
        dropped_bits += kRebias + 1 - (exponent > 0 ? exponent : 1);
        if (dropped_bits > kWidth - 1) dropped_bits = kWidth - 1;  // less than half of the smallest number either way
    } else {
        magnitude -= static_cast<Bits>(kRebias) << kSourceMantissaBits;
    }

    Bits kept = magnitude >> dropped_bits;
    const Bits dropped = magnitude & ((Bits{1} << dropped_bits) - 1);
    const Bits half = Bits{1} << (dropped_bits - 1);
    bool away_from_zero = false;
    if constexpr (kRounding == Rounding::nearest_even) {
        away_from_zero = dropped > half || (dropped == half && (kept & 1) != 0);
    } else if constexpr (kRounding == Rounding::down) {
        away_from_zero = sign != 0 && dropped != 0;
    } else if constexpr (kRounding == Rounding::up) {
        away_from_zero = sign == 0 && dropped != 0;
    }

    if (kept >= Target::kInfinity) {  // larger than the largest finite number
        const bool to_infinity = kRounding == Rounding::nearest_even || (kRounding == Rounding::down && sign != 0) ||
                                 (kRounding == Rounding::up && sign == 0);
        kept = to_infinity ? Target::kInfinity : Target::kInfinity - 1;
    } else {
        kept += away_from_zero;  // a carry runs into the exponent: to the next power of two, or to infinity
    }
    return static_cast<std::uint16_t>(sign | kept);
}

// The value of 16 bits: always exact.
template <class Format>
constexpr float widen(std::uint16_t bits) {
    constexpr int kFloatMantissaBits = 23, kFloatBias = 127;
    constexpr int kExtraBits = kFloatMantissaBits - Format::kMantissaBits;
    constexpr int kRebias = kFloatBias - Layout<Format>::kBias;
    if constexpr (kRebias == 0) {  // bfloat16 is the upper half of a float
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    } else {
        const auto sign = static_cast<std::uint32_t>(bits & Layout<Format>::kSign) << 16;
        auto magnitude = static_cast<std::uint32_t>(bits & 0x7fff) << kExtraBits;
        if ((bits & 0x7fff) > Layout<Format>::kInfinity) return std::bit_cast<float>(0x7fffffffu);  // the NaN of GPUs
        if ((bits & 0x7fff) == Layout<Format>::kInfinity) return std::bit_cast<float>(sign | 0x7f800000u);
        if (magnitude >= 1u << kFloatMantissaBits) {
            magnitude += static_cast<std::uint32_t>(kRebias) << kFloatMantissaBits;
        } else if (magnitude != 0) {  // subnormal here, normal as a float: shift until the hidden bit is reached
            const int shift = std::countl_zero(magnitude) - 8;
            magnitude = (magnitude << shift) + (static_cast<std::uint32_t>(kRebias - shift) << kFloatMantissaBits);
        }
        return std::bit_cast<float>(sign | magnitude);
    }
}

// What both types accept besides float and double: integers that a double holds exactly.
template <class T>
concept SmallInteger = std::integral<T> && sizeof(T) <= 4;

}  // namespace detail

class float16 {
  public:
    float16() = default;  // trivial: two bytes that nobody has written yet
    explicit constexpr float16(float value) : bits_(detail::narrow<detail::Float16Format>(value)) {}
    explicit constexpr float16(double value) : bits_(detail::narrow<detail::Float16Format>(value)) {}
    explicit constexpr float16(detail::SmallInteger auto value) : float16(static_cast<double>(value)) {}

    static constexpr float16 from_bits(std::uint16_t bits) {
        float16 result(0.0f);
        result.bits_ = bits;
        return result;
    }
    constexpr std::uint16_t bits() const { return bits_; }

    constexpr operator float() const { return detail::widen<detail::Float16Format>(bits_); }

  private:
    std::uint16_t bits_;
};

class bfloat16 {
  public:
    bfloat16() = default;
    explicit constexpr bfloat16(float value) : bits_(detail::narrow<detail::Bfloat16Format>(value)) {}
    explicit constexpr bfloat16(double value) : bits_(detail::narrow<detail::Bfloat16Format>(value)) {}
    explicit constexpr bfloat16(detail::SmallInteger auto value) : bfloat16(static_cast<double>(value)) {}

    static constexpr bfloat16 from_bits(std::uint16_t bits) {
        bfloat16 result(0.0f);
        result.bits_ = bits;
        return result;
    }
    constexpr std::uint16_t bits() const { return bits_; }

    constexpr operator float() const { return detail::widen<detail::Bfloat16Format>(bits_); }

  private:
    std::uint16_t bits_;
};

namespace detail {

template <class T>
struct Accumulator {
    using type = T;
};
template <>
struct Accumulator<float16> {
    using type = float;
};
template <>
struct Accumulator<bfloat16> {
    using type = float;
};

}  // namespace detail

// What sums of T are kept in.
template <class T>
using accumulator_t = typename detail::Accumulator<std::remove_cv_t<T>>::type;

// The value of T nearest to x: what is left of x after it was stored as a T.
template <class T, class X>
constexpr T round_to(const X& x) {
    return static_cast<T>(x);
}

}  // namespace attn
