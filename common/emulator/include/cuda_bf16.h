// __nv_bfloat16, __nv_bfloat162 and their intrinsics: the emulator's version of CUDA's header of this name.
// What holds for __half holds here: see cuda_fp16.h, whose tables this file uses.
#pragma once

#include "cuda_fp16.h"

struct __nv_bfloat162;

struct alignas(2) __nv_bfloat16_raw {
    unsigned short x;
};
struct alignas(4) __nv_bfloat162_raw {
    unsigned short x, y;
};

template <>
struct attn::emulator::sixteen_bit::Traits<__nv_bfloat16> {
    using Format = detail::Bfloat16Format;
    using Raw = __nv_bfloat16_raw;
};

struct alignas(2) __nv_bfloat16 {
    __nv_bfloat16() = default;
    constexpr __nv_bfloat16(const __nv_bfloat16_raw& raw) : __x(raw.x) {}
    constexpr __nv_bfloat16(float value) : __x(attn::detail::narrow<attn::detail::Bfloat16Format>(value)) {}
    constexpr __nv_bfloat16(double value) : __x(attn::detail::narrow<attn::detail::Bfloat16Format>(value)) {}
    explicit __nv_bfloat16(__half value) : __nv_bfloat16(static_cast<float>(value)) {}

    constexpr operator __nv_bfloat16_raw() const { return {__x}; }
    constexpr operator float() const { return attn::detail::widen<attn::detail::Bfloat16Format>(__x); }
    constexpr operator bool() const { return (__x & 0x7fff) != 0; }
    ATTN_EMULATE_CONVERSIONS(__nv_bfloat16)

  protected:
    unsigned short __x;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;  // the low and the high half: x is the one at the lower address

    __nv_bfloat162() = default;
    constexpr __nv_bfloat162(const __nv_bfloat16& low, const __nv_bfloat16& high) : x(low), y(high) {}
    constexpr __nv_bfloat162(const __nv_bfloat162_raw& raw)
        : x(__nv_bfloat16_raw{raw.x}), y(__nv_bfloat16_raw{raw.y}) {}

    constexpr operator __nv_bfloat162_raw() const { return {__nv_bfloat16_raw(x).x, __nv_bfloat16_raw(y).x}; }
};

using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

__forceinline__ __half::__half(__nv_bfloat16 value) : __half(static_cast<float>(value)) {}

// Bits, and values made of them.

constexpr short __bfloat16_as_short(__nv_bfloat16 a) { return static_cast<short>(__nv_bfloat16_raw(a).x); }
constexpr unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return __nv_bfloat16_raw(a).x; }
constexpr __nv_bfloat16 __short_as_bfloat16(short bits) { return __nv_bfloat16_raw{static_cast<unsigned short>(bits)}; }
constexpr __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16_raw{bits}; }

#define CUDART_INF_BF16 __ushort_as_bfloat16((unsigned short)0x7F80U)
#define CUDART_NAN_BF16 __ushort_as_bfloat16((unsigned short)0x7FFFU)
#define CUDART_MIN_DENORM_BF16 __ushort_as_bfloat16((unsigned short)0x0001U)
#define CUDART_MAX_NORMAL_BF16 __ushort_as_bfloat16((unsigned short)0x7F7FU)
#define CUDART_NEG_ZERO_BF16 __ushort_as_bfloat16((unsigned short)0x8000U)
#define CUDART_ZERO_BF16 __ushort_as_bfloat16((unsigned short)0x0000U)
#define CUDART_ONE_BF16 __ushort_as_bfloat16((unsigned short)0x3F80U)

// Conversions.

__forceinline__ __nv_bfloat16 __double2bfloat16(double a) { return __nv_bfloat16(a); }
__forceinline__ __nv_bfloat16 __float2bfloat16(float a) { return __nv_bfloat16(a); }
__forceinline__ __nv_bfloat16 __float2bfloat16_rn(float a) { return __nv_bfloat16(a); }
__forceinline__ __nv_bfloat16 __float2bfloat16_rz(float a) {
    using namespace attn::emulator::sixteen_bit;
    return Arithmetic<__nv_bfloat16>::round<Rounding::toward_zero>(a);
}
__forceinline__ __nv_bfloat16 __float2bfloat16_rd(float a) {
    using namespace attn::emulator::sixteen_bit;
    return Arithmetic<__nv_bfloat16>::round<Rounding::down>(a);
}
__forceinline__ __nv_bfloat16 __float2bfloat16_ru(float a) {
    using namespace attn::emulator::sixteen_bit;
    return Arithmetic<__nv_bfloat16>::round<Rounding::up>(a);
}
__forceinline__ float __bfloat162float(__nv_bfloat16 a) { return a; }

// Pairs.

__forceinline__ __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
__forceinline__ __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 a) { return {a, a}; }
__forceinline__ __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) { return {low, high}; }
__forceinline__ __nv_bfloat162 __float2bfloat162_rn(float a) { return {__nv_bfloat16(a), __nv_bfloat16(a)}; }
__forceinline__ __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
    return {__nv_bfloat16(low), __nv_bfloat16(high)};
}
__forceinline__ __nv_bfloat162 __float22bfloat162_rn(float2 a) { return {__nv_bfloat16(a.x), __nv_bfloat16(a.y)}; }
__forceinline__ float2 __bfloat1622float2(__nv_bfloat162 a) { return {a.x, a.y}; }
__forceinline__ __nv_bfloat16 __low2bfloat16(__nv_bfloat162 a) { return a.x; }
__forceinline__ __nv_bfloat16 __high2bfloat16(__nv_bfloat162 a) { return a.y; }
__forceinline__ __nv_bfloat162 __low2bfloat162(__nv_bfloat162 a) { return {a.x, a.x}; }
__forceinline__ __nv_bfloat162 __high2bfloat162(__nv_bfloat162 a) { return {a.y, a.y}; }
__forceinline__ __nv_bfloat162 __lows2bfloat162(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x, b.x}; }
__forceinline__ __nv_bfloat162 __highs2bfloat162(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.y, b.y}; }

ATTN_EMULATE_SIXTEEN_BIT_TYPE(__nv_bfloat16, __bfloat162, bfloat16)
