// __half, __half2 and their intrinsics: the emulator's version of CUDA's header of this name.
//
// Names, types and meaning are CUDA's. Each operation is rounded to 16 bits once, to nearest even where the name says
// nothing else. The functions that a GPU approximates (hexp, hlog, hsin, …) are rounded correctly here: a GPU may
// differ from that in the last bit. Warp shuffles, loads and atomics of these types are in cuda_runtime.h.
//
// __forceinline__ is for unoptimised kernels: what a call returns straight into memory passes no memory hook.
//
// What __half and __nv_bfloat16 have in common is written once, as templates and as the tables at the end of this file.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>

#include "common/tensor/half.hpp"
#include "host_defines.h"
#include "vector_types.h"

struct __half;
struct __half2;
struct __nv_bfloat16;

struct alignas(2) __half_raw {
    unsigned short x;
};
struct alignas(4) __half2_raw {
    unsigned short x, y;
};

namespace attn::emulator::sixteen_bit {

using detail::Rounding;

// The bits of an integer in a 16-bit format, rounded once.
template <class Format, Rounding kRounding = Rounding::nearest_even>
constexpr std::uint16_t from_integer(std::integral auto value) {
    if constexpr (sizeof(value) <= 4) {
        return detail::narrow<Format, kRounding>(static_cast<double>(value));
    } else {
        // More than the 53 bits of a double: what does not fit is condensed into the last bit, which is enough to tell
        // above, below and exactly in the middle (rounding to odd).
        auto magnitude = static_cast<std::uint64_t>(value);
        if (value < 0) magnitude = 0 - magnitude;
        if (magnitude >> 53 != 0) magnitude = (magnitude & ~0x7ffull) | ((magnitude & 0x7ff) != 0 ? 0x800 : 0);
        const auto wide = static_cast<double>(magnitude);
        return detail::narrow<Format, kRounding>(value < 0 ? -wide : wide);
    }
}

// Saturates; NaN becomes 0, or the sign bit alone where the integer has 64 bits.
template <class Integer, Rounding kRounding>
Integer to_integer(float value) {
    using Limits = std::numeric_limits<Integer>;
    if (std::isnan(value)) return sizeof(Integer) == 8 ? static_cast<Integer>(1ull << 63) : Integer{0};
    const float rounded = kRounding == Rounding::toward_zero ? std::trunc(value)
                          : kRounding == Rounding::down      ? std::floor(value)
                          : kRounding == Rounding::up        ? std::ceil(value)
                                                             : std::nearbyint(value);
    if (rounded >= std::ldexp(1.0f, Limits::digits)) return Limits::max();  // the maximum itself may be no float
    if (rounded < static_cast<float>(Limits::min())) return Limits::min();
    return static_cast<Integer>(rounded);
}

template <class T>
struct Traits;

template <>
struct Traits<__half> {
    using Format = detail::Float16Format;
    using Raw = __half_raw;
};

// a + b, where an inexact sum is rounded to the neighbour whose last bit is 1. Rounding that once more, to fewer bits,
// gives what rounding the exact sum would have given: an odd number never looks like a tie.
__forceinline__ double add_to_odd(double a, double b) {
    const double sum = a + b;
    if (!std::isfinite(sum)) return sum;
    const double b_in_sum = sum - a;
    const double error = (a - (sum - b_in_sum)) + (b - b_in_sum);  // exact: a + b = sum + error (Knuth's TwoSum)
    if (error == 0) return sum;
    auto sum_bits = std::bit_cast<std::uint64_t>(sum);
    if ((error < 0) != (sum < 0)) --sum_bits;  // it was rounded away from zero: back to the neighbour nearer to zero
    return std::bit_cast<double>(sum_bits | 1);
}

// What the intrinsics of one type compute. They are members, so that a kernel's own add(__half, __half) stays its own.
template <class T>
struct Arithmetic {
    using Format = typename Traits<T>::Format;
    using Raw = typename Traits<T>::Raw;
    static constexpr std::uint16_t kInfinity = detail::Layout<Format>::kInfinity;

    static constexpr std::uint16_t bits(T a) { return static_cast<Raw>(a).x; }
    static constexpr T from_bits(unsigned bits) { return T(Raw{static_cast<unsigned short>(bits)}); }
    static constexpr T nan() { return from_bits(detail::Layout<Format>::kNaN); }
    static constexpr float value(T a) { return static_cast<float>(a); }
    static constexpr double real(T a) { return static_cast<float>(a); }

    template <Rounding kRounding>
    static constexpr T round(float a) {
        return from_bits(detail::narrow<Format, kRounding>(a));
    }

    static bool is_nan(T a) { return (bits(a) & 0x7fff) > kInfinity; }
    static bool unordered(T a, T b) { return is_nan(a) || is_nan(b); }
    static int is_infinite(T a) {
        if ((bits(a) & 0x7fff) != kInfinity) return 0;
        return (bits(a) & 0x8000) != 0 ? -1 : 1;
    }

    static T negate(T a) { return is_nan(a) ? nan() : from_bits(bits(a) ^ 0x8000u); }
    static T absolute(T a) { return is_nan(a) ? nan() : from_bits(bits(a) & 0x7fffu); }

    // In float, then in 16 bits. Two roundings are as good as one here: a float has more than twice the bits, plus two,
    // and where it has fewer, because a result of two __nv_bfloat16 is a subnormal float, none comes close to a tie.
    static T add(T a, T b) { return T(value(a) + value(b)); }
    static T subtract(T a, T b) { return T(value(a) - value(b)); }
    static T multiply(T a, T b) { return T(value(a) * value(b)); }
    static T divide(T a, T b) { return T(value(a) / value(b)); }

    static T multiply_add(T a, T b, T c) {
        return T(add_to_odd(real(a) * real(b), real(c)));  // the product is exact
    }

    // Of a number and NaN, the number; of -0 and +0, +0.
    static T maximum(T a, T b) {
        if (is_nan(a)) return is_nan(b) ? nan() : b;
        if (is_nan(b)) return a;
        if (value(a) == value(b)) return bits(a) < bits(b) ? a : b;
        return value(a) > value(b) ? a : b;
    }
    static T minimum(T a, T b) {
        if (is_nan(a)) return is_nan(b) ? nan() : b;
        if (is_nan(b)) return a;
        if (value(a) == value(b)) return bits(a) > bits(b) ? a : b;
        return value(a) < value(b) ? a : b;
    }
    static T maximum_or_nan(T a, T b) { return unordered(a, b) ? nan() : maximum(a, b); }
    static T minimum_or_nan(T a, T b) { return unordered(a, b) ? nan() : minimum(a, b); }

    static T saturate(T a) { return minimum(maximum(a, T(0.0f)), T(1.0f)); }  // into [0, 1]; NaN becomes 0
    static T relu(T a) { return maximum_or_nan(a, T(0.0f)); }                 // NaN stays
};

}  // namespace attn::emulator::sixteen_bit

// What both types can be made from and can become without being asked: everything that a float can.
#define ATTN_EMULATE_CONVERSION_TO_INTEGER(Integer)                      \
    operator Integer() const {                                           \
        using namespace attn::emulator::sixteen_bit;                     \
        return to_integer<Integer, Rounding::toward_zero>(float(*this)); \
    }

#define ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, Integer) \
    T(Integer value)                                     \
        : __x(attn::emulator::sixteen_bit::from_integer<attn::emulator::sixteen_bit::Traits<T>::Format>(value)) {}

#define ATTN_EMULATE_ASSIGNMENT(T, Source) \
    T& operator=(Source value) { return *this = T(value); }

#define ATTN_EMULATE_CONVERSIONS(T)                             \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, short)              \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, unsigned short)     \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, int)                \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, unsigned int)       \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, long)               \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, unsigned long)      \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, long long)          \
    ATTN_EMULATE_CONVERSION_FROM_INTEGER(T, unsigned long long) \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(signed char)             \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(unsigned char)           \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(char)                    \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(short)                   \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(unsigned short)          \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(int)                     \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(unsigned int)            \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(long)                    \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(unsigned long)           \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(long long)               \
    ATTN_EMULATE_CONVERSION_TO_INTEGER(unsigned long long)      \
    ATTN_EMULATE_ASSIGNMENT(T, float)                           \
    ATTN_EMULATE_ASSIGNMENT(T, double)                          \
    ATTN_EMULATE_ASSIGNMENT(T, short)                           \
    ATTN_EMULATE_ASSIGNMENT(T, unsigned short)                  \
    ATTN_EMULATE_ASSIGNMENT(T, int)                             \
    ATTN_EMULATE_ASSIGNMENT(T, unsigned int)                    \
    ATTN_EMULATE_ASSIGNMENT(T, long long)                       \
    ATTN_EMULATE_ASSIGNMENT(T, unsigned long long)

struct alignas(2) __half {
    __half() = default;  // trivial, as __shared__ arrays need it
    constexpr __half(const __half_raw& raw) : __x(raw.x) {}
    constexpr __half(float value) : __x(attn::detail::narrow<attn::detail::Float16Format>(value)) {}
    constexpr __half(double value) : __x(attn::detail::narrow<attn::detail::Float16Format>(value)) {}
    explicit __half(__nv_bfloat16 value);  // defined in cuda_bf16.h

    constexpr operator __half_raw() const { return {__x}; }
    constexpr operator float() const { return attn::detail::widen<attn::detail::Float16Format>(__x); }
    constexpr operator bool() const { return (__x & 0x7fff) != 0; }
    ATTN_EMULATE_CONVERSIONS(__half)

  protected:
    unsigned short __x;
};

struct alignas(4) __half2 {
    __half x, y;  // the low and the high half: x is the one at the lower address

    __half2() = default;
    constexpr __half2(const __half& low, const __half& high) : x(low), y(high) {}
    constexpr __half2(const __half2_raw& raw) : x(__half_raw{raw.x}), y(__half_raw{raw.y}) {}

    constexpr operator __half2_raw() const { return {__half_raw(x).x, __half_raw(y).x}; }
};

using half = __half;
using half2 = __half2;
using __nv_half = __half;
using __nv_half2 = __half2;
using __nv_half_raw = __half_raw;
using __nv_half2_raw = __half2_raw;
using nv_half = __half;
using nv_half2 = __half2;

// Bits, and values made of them.

constexpr short __half_as_short(__half a) { return static_cast<short>(__half_raw(a).x); }
constexpr unsigned short __half_as_ushort(__half a) { return __half_raw(a).x; }
constexpr __half __short_as_half(short bits) { return __half_raw{static_cast<unsigned short>(bits)}; }
constexpr __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }

#define CUDART_INF_FP16 __ushort_as_half((unsigned short)0x7C00U)
#define CUDART_NAN_FP16 __ushort_as_half((unsigned short)0x7FFFU)
#define CUDART_MIN_DENORM_FP16 __ushort_as_half((unsigned short)0x0001U)
#define CUDART_MAX_NORMAL_FP16 __ushort_as_half((unsigned short)0x7BFFU)
#define CUDART_NEG_ZERO_FP16 __ushort_as_half((unsigned short)0x8000U)
#define CUDART_ZERO_FP16 __ushort_as_half((unsigned short)0x0000U)
#define CUDART_ONE_FP16 __ushort_as_half((unsigned short)0x3C00U)

// Conversions.

__forceinline__ __half __double2half(double a) { return __half(a); }
__forceinline__ __half __float2half(float a) { return __half(a); }
__forceinline__ __half __float2half_rn(float a) { return __half(a); }
__forceinline__ __half __float2half_rz(float a) {
    using namespace attn::emulator::sixteen_bit;
    return Arithmetic<__half>::round<Rounding::toward_zero>(a);
}
__forceinline__ __half __float2half_rd(float a) {
    using namespace attn::emulator::sixteen_bit;
    return Arithmetic<__half>::round<Rounding::down>(a);
}
__forceinline__ __half __float2half_ru(float a) {
    using namespace attn::emulator::sixteen_bit;
    return Arithmetic<__half>::round<Rounding::up>(a);
}
__forceinline__ float __half2float(__half a) { return a; }

// Pairs.

__forceinline__ __half2 make_half2(__half x, __half y) { return {x, y}; }
__forceinline__ __half2 __half2half2(__half a) { return {a, a}; }
__forceinline__ __half2 __halves2half2(__half low, __half high) { return {low, high}; }
__forceinline__ __half2 __float2half2_rn(float a) { return {__half(a), __half(a)}; }
__forceinline__ __half2 __floats2half2_rn(float low, float high) { return {__half(low), __half(high)}; }
__forceinline__ __half2 __float22half2_rn(float2 a) { return {__half(a.x), __half(a.y)}; }
__forceinline__ float2 __half22float2(__half2 a) { return {a.x, a.y}; }
__forceinline__ __half __low2half(__half2 a) { return a.x; }
__forceinline__ __half __high2half(__half2 a) { return a.y; }
__forceinline__ __half2 __low2half2(__half2 a) { return {a.x, a.x}; }
__forceinline__ __half2 __high2half2(__half2 a) { return {a.y, a.y}; }
__forceinline__ __half2 __lows2half2(__half2 a, __half2 b) { return {a.x, b.x}; }
__forceinline__ __half2 __highs2half2(__half2 a, __half2 b) { return {a.y, b.y}; }

// Integers: __half2int_rn(h) and __int2half_rn(i), for six types and four roundings.

#define ATTN_EMULATE_TO_INTEGER(T, name, Integer, rounding) \
    __forceinline__ Integer name(T a) {                     \
        using namespace attn::emulator::sixteen_bit;        \
        return to_integer<Integer, Rounding::rounding>(a);  \
    }

#define ATTN_EMULATE_FROM_INTEGER(T, name, Integer, rounding)                                        \
    __forceinline__ T name(Integer value) {                                                          \
        using namespace attn::emulator::sixteen_bit;                                                 \
        return Arithmetic<T>::from_bits(from_integer<Traits<T>::Format, Rounding::rounding>(value)); \
    }

#define ATTN_EMULATE_INTEGER(T, TO, FROM, name, Integer)                        \
    ATTN_EMULATE_TO_INTEGER(T, TO##name##_rn, Integer, nearest_even)            \
    ATTN_EMULATE_TO_INTEGER(T, TO##name##_rz, Integer, toward_zero)             \
    ATTN_EMULATE_TO_INTEGER(T, TO##name##_rd, Integer, down)                    \
    ATTN_EMULATE_TO_INTEGER(T, TO##name##_ru, Integer, up)                      \
    ATTN_EMULATE_FROM_INTEGER(T, __##name##2##FROM##_rn, Integer, nearest_even) \
    ATTN_EMULATE_FROM_INTEGER(T, __##name##2##FROM##_rz, Integer, toward_zero)  \
    ATTN_EMULATE_FROM_INTEGER(T, __##name##2##FROM##_rd, Integer, down)         \
    ATTN_EMULATE_FROM_INTEGER(T, __##name##2##FROM##_ru, Integer, up)

#define ATTN_EMULATE_INTEGERS(T, TO, FROM)                               \
    ATTN_EMULATE_TO_INTEGER(T, TO##char_rz, signed char, toward_zero)    \
    ATTN_EMULATE_TO_INTEGER(T, TO##uchar_rz, unsigned char, toward_zero) \
    ATTN_EMULATE_INTEGER(T, TO, FROM, short, short)                      \
    ATTN_EMULATE_INTEGER(T, TO, FROM, ushort, unsigned short)            \
    ATTN_EMULATE_INTEGER(T, TO, FROM, int, int)                          \
    ATTN_EMULATE_INTEGER(T, TO, FROM, uint, unsigned int)                \
    ATTN_EMULATE_INTEGER(T, TO, FROM, ll, long long)                     \
    ATTN_EMULATE_INTEGER(T, TO, FROM, ull, unsigned long long)

// Arithmetic and mathematics: for each row the function of one number and the function of a pair, half by half.
// `result` says what it computes from a, b, c of type T; A has the operations above.

#define ATTN_EMULATE_UNARY(T, name, name2, result)            \
    __forceinline__ T name(T a) {                             \
        using A = attn::emulator::sixteen_bit::Arithmetic<T>; \
        return T(result);                                     \
    }                                                         \
    __forceinline__ T##2 name2(T##2 a) { return {name(a.x), name(a.y)}; }

#define ATTN_EMULATE_BINARY(T, name, name2, result)           \
    __forceinline__ T name(T a, T b) {                        \
        using A = attn::emulator::sixteen_bit::Arithmetic<T>; \
        return result;                                        \
    }                                                         \
    __forceinline__ T##2 name2(T##2 a, T##2 b) { return {name(a.x, b.x), name(a.y, b.y)}; }

#define ATTN_EMULATE_TERNARY(T, name, name2, result)          \
    __forceinline__ T name(T a, T b, T c) {                   \
        using A = attn::emulator::sixteen_bit::Arithmetic<T>; \
        return result;                                        \
    }                                                         \
    __forceinline__ T##2 name2(T##2 a, T##2 b, T##2 c) { return {name(a.x, b.x, c.x), name(a.y, b.y, c.y)}; }

#define ATTN_EMULATE_ARITHMETIC(T)                                                                         \
    ATTN_EMULATE_UNARY(T, __hneg, __hneg2, A::negate(a))                                                   \
    ATTN_EMULATE_UNARY(T, __habs, __habs2, A::absolute(a))                                                 \
    ATTN_EMULATE_BINARY(T, __hadd, __hadd2, A::add(a, b))                                                  \
    ATTN_EMULATE_BINARY(T, __hsub, __hsub2, A::subtract(a, b))                                             \
    ATTN_EMULATE_BINARY(T, __hmul, __hmul2, A::multiply(a, b))                                             \
    ATTN_EMULATE_BINARY(T, __hdiv, __h2div, A::divide(a, b))                                               \
    ATTN_EMULATE_BINARY(T, __hadd_rn, __hadd2_rn, A::add(a, b))                                            \
    ATTN_EMULATE_BINARY(T, __hsub_rn, __hsub2_rn, A::subtract(a, b))                                       \
    ATTN_EMULATE_BINARY(T, __hmul_rn, __hmul2_rn, A::multiply(a, b))                                       \
    ATTN_EMULATE_BINARY(T, __hadd_sat, __hadd2_sat, A::saturate(A::add(a, b)))                             \
    ATTN_EMULATE_BINARY(T, __hsub_sat, __hsub2_sat, A::saturate(A::subtract(a, b)))                        \
    ATTN_EMULATE_BINARY(T, __hmul_sat, __hmul2_sat, A::saturate(A::multiply(a, b)))                        \
    ATTN_EMULATE_BINARY(T, __hmax, __hmax2, A::maximum(a, b))                                              \
    ATTN_EMULATE_BINARY(T, __hmin, __hmin2, A::minimum(a, b))                                              \
    ATTN_EMULATE_BINARY(T, __hmax_nan, __hmax2_nan, A::maximum_or_nan(a, b))                               \
    ATTN_EMULATE_BINARY(T, __hmin_nan, __hmin2_nan, A::minimum_or_nan(a, b))                               \
    ATTN_EMULATE_TERNARY(T, __hfma, __hfma2, A::multiply_add(a, b, c))                                     \
    ATTN_EMULATE_TERNARY(T, __hfma_sat, __hfma2_sat, A::saturate(A::multiply_add(a, b, c)))                \
    ATTN_EMULATE_TERNARY(T, __hfma_relu, __hfma2_relu, A::relu(A::multiply_add(a, b, c)))                  \
    /* complex numbers: a·b + c */                                                                        \
    __forceinline__ T##2 __hcmadd(T##2 a, T##2 b, T##2 c) {                                                \
        return {__hfma(__hneg(a.y), b.y, __hfma(a.x, b.x, c.x)), __hfma(a.y, b.x, __hfma(a.x, b.y, c.y))}; \
    }

#define ATTN_EMULATE_MATHEMATICS(T)                                    \
    ATTN_EMULATE_UNARY(T, htrunc, h2trunc, std::trunc(A::value(a)))    \
    ATTN_EMULATE_UNARY(T, hceil, h2ceil, std::ceil(A::value(a)))       \
    ATTN_EMULATE_UNARY(T, hfloor, h2floor, std::floor(A::value(a)))    \
    ATTN_EMULATE_UNARY(T, hrint, h2rint, std::nearbyint(A::value(a)))  \
    ATTN_EMULATE_UNARY(T, hsqrt, h2sqrt, std::sqrt(A::real(a)))        \
    ATTN_EMULATE_UNARY(T, hrsqrt, h2rsqrt, 1 / std::sqrt(A::real(a)))  \
    ATTN_EMULATE_UNARY(T, hrcp, h2rcp, 1 / A::real(a))                 \
    ATTN_EMULATE_UNARY(T, hlog, h2log, std::log(A::real(a)))           \
    ATTN_EMULATE_UNARY(T, hlog2, h2log2, std::log2(A::real(a)))        \
    ATTN_EMULATE_UNARY(T, hlog10, h2log10, std::log10(A::real(a)))     \
    ATTN_EMULATE_UNARY(T, hexp, h2exp, std::exp(A::real(a)))           \
    ATTN_EMULATE_UNARY(T, hexp2, h2exp2, std::exp2(A::real(a)))        \
    ATTN_EMULATE_UNARY(T, hexp10, h2exp10, std::pow(10.0, A::real(a))) \
    ATTN_EMULATE_UNARY(T, hcos, h2cos, std::cos(A::real(a)))           \
    ATTN_EMULATE_UNARY(T, hsin, h2sin, std::sin(A::real(a)))

// Comparisons. With a NaN the plain ones are false, __hne as well; those with a u (unordered) are true.
// Of pairs: __heq2 gives 1.0 or 0.0 for each half, __heq2_mask 0xffff or 0, __hbeq2 whether both halves compare so.

#define ATTN_EMULATE_COMPARISON_OF_PAIRS(T, name)                                                   \
    __forceinline__ T##2 __h##name##2(T##2 a, T##2 b) {                                             \
        return {T(__h##name(a.x, b.x) ? 1.0f : 0.0f), T(__h##name(a.y, b.y) ? 1.0f : 0.0f)};        \
    }                                                                                               \
    __forceinline__ unsigned int __h##name##2_mask(T##2 a, T##2 b) {                                \
        return (__h##name(a.x, b.x) ? 0x0000ffffu : 0u) | (__h##name(a.y, b.y) ? 0xffff0000u : 0u); \
    }                                                                                               \
    __forceinline__ bool __hb##name##2(T##2 a, T##2 b) { return __h##name(a.x, b.x) && __h##name(a.y, b.y); }

#define ATTN_EMULATE_COMPARISON(T, name, op)                      \
    __forceinline__ bool __h##name(T a, T b) {                    \
        using A = attn::emulator::sixteen_bit::Arithmetic<T>;     \
        return !A::unordered(a, b) && A::value(a) op A::value(b); \
    }                                                             \
    __forceinline__ bool __h##name##u(T a, T b) {                 \
        using A = attn::emulator::sixteen_bit::Arithmetic<T>;     \
        return A::unordered(a, b) || A::value(a) op A::value(b);  \
    }                                                             \
    ATTN_EMULATE_COMPARISON_OF_PAIRS(T, name)                     \
    ATTN_EMULATE_COMPARISON_OF_PAIRS(T, name##u)

#define ATTN_EMULATE_COMPARISONS(T)                                                                          \
    ATTN_EMULATE_COMPARISON(T, eq, ==)                                                                       \
    ATTN_EMULATE_COMPARISON(T, ne, !=)                                                                       \
    ATTN_EMULATE_COMPARISON(T, lt, <)                                                                        \
    ATTN_EMULATE_COMPARISON(T, le, <=)                                                                       \
    ATTN_EMULATE_COMPARISON(T, gt, >)                                                                        \
    ATTN_EMULATE_COMPARISON(T, ge, >=)                                                                       \
    __forceinline__ bool __hisnan(T a) { return attn::emulator::sixteen_bit::Arithmetic<T>::is_nan(a); }     \
    __forceinline__ int __hisinf(T a) { return attn::emulator::sixteen_bit::Arithmetic<T>::is_infinite(a); } \
    __forceinline__ T##2 __hisnan2(T##2 a) { return {T(__hisnan(a.x) ? 1.0f : 0.0f), T(__hisnan(a.y) ? 1.0f : 0.0f)}; }

// Operators: the intrinsic of the same meaning.

#define ATTN_EMULATE_OPERATOR(T, op, function)                                       \
    __forceinline__ T operator op(const T& a, const T& b) { return function(a, b); } \
    __forceinline__ T& operator op##=(T& a, const T& b) { return a = function(a, b); }

#define ATTN_EMULATE_STEP(T, op, function, one)                           \
    __forceinline__ T& operator op(T& a) { return a = function(a, one); } \
    __forceinline__ T operator op(T& a, int) {                            \
        const T before = a;                                               \
        a = function(a, one);                                             \
        return before;                                                    \
    }

#define ATTN_EMULATE_RELATION(T, op, function) \
    __forceinline__ bool operator op(const T& a, const T& b) { return function(a, b); }

#define ATTN_EMULATE_OPERATORS(T)                                 \
    ATTN_EMULATE_OPERATOR(T, +, __hadd)                           \
    ATTN_EMULATE_OPERATOR(T, -, __hsub)                           \
    ATTN_EMULATE_OPERATOR(T, *, __hmul)                           \
    ATTN_EMULATE_OPERATOR(T, /, __hdiv)                           \
    ATTN_EMULATE_STEP(T, ++, __hadd, T(1.0f))                     \
    ATTN_EMULATE_STEP(T, --, __hsub, T(1.0f))                     \
    __forceinline__ T operator+(const T& a) { return a; }         \
    __forceinline__ T operator-(const T& a) { return __hneg(a); } \
    ATTN_EMULATE_RELATION(T, ==, __heq)                           \
    ATTN_EMULATE_RELATION(T, !=, __hneu)                          \
    ATTN_EMULATE_RELATION(T, <, __hlt)                            \
    ATTN_EMULATE_RELATION(T, <=, __hle)                           \
    ATTN_EMULATE_RELATION(T, >, __hgt)                            \
    ATTN_EMULATE_RELATION(T, >=, __hge)

#define ATTN_EMULATE_OPERATORS_OF_PAIRS(T)                                \
    ATTN_EMULATE_OPERATOR(T##2, +, __hadd2)                               \
    ATTN_EMULATE_OPERATOR(T##2, -, __hsub2)                               \
    ATTN_EMULATE_OPERATOR(T##2, *, __hmul2)                               \
    ATTN_EMULATE_OPERATOR(T##2, /, __h2div)                               \
    ATTN_EMULATE_STEP(T##2, ++, __hadd2, T##2(T(1.0f), T(1.0f)))          \
    ATTN_EMULATE_STEP(T##2, --, __hsub2, T##2(T(1.0f), T(1.0f)))          \
    __forceinline__ T##2 operator+(const T##2 & a) { return a; }          \
    __forceinline__ T##2 operator-(const T##2 & a) { return __hneg2(a); } \
    ATTN_EMULATE_RELATION(T##2, ==, __hbeq2)                              \
    ATTN_EMULATE_RELATION(T##2, !=, __hbneu2)                             \
    ATTN_EMULATE_RELATION(T##2, <, __hblt2)                               \
    ATTN_EMULATE_RELATION(T##2, <=, __hble2)                              \
    ATTN_EMULATE_RELATION(T##2, >, __hbgt2)                               \
    ATTN_EMULATE_RELATION(T##2, >=, __hbge2)

// The rest of what has one name for both types, and all of the tables.
#define ATTN_EMULATE_SIXTEEN_BIT_TYPE(T, TO, FROM)                        \
    __forceinline__ float __low2float(T##2 a) { return a.x; }             \
    __forceinline__ float __high2float(T##2 a) { return a.y; }            \
    __forceinline__ T##2 __lowhigh2highlow(T##2 a) { return {a.y, a.x}; } \
    ATTN_EMULATE_INTEGERS(T, TO, FROM)                                    \
    ATTN_EMULATE_ARITHMETIC(T)                                            \
    ATTN_EMULATE_MATHEMATICS(T)                                           \
    ATTN_EMULATE_COMPARISONS(T)                                           \
    ATTN_EMULATE_OPERATORS(T)                                             \
    ATTN_EMULATE_OPERATORS_OF_PAIRS(T)

ATTN_EMULATE_SIXTEEN_BIT_TYPE(__half, __half2, half)
