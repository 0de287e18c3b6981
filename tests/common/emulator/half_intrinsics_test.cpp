// The emulator's cuda_fp16.h, cuda_bf16.h and vector types, against exact integers and a search in the list of all
// values. What is compared here are functions of numbers: no kernel runs, nothing is linked but this file.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/support/catch.hpp"

namespace {

__extension__ typedef __int128 Fixed;  // a number in units of 2^-64

constexpr int kSeed = 19;

// What the two types are called, so that one test serves both.
template <class T>
struct Names;
template <>
struct Names<__half> {
    using Pair = __half2;
    static constexpr int kExponentBits = 5, kMantissaBits = 10;
    static __half from_bits(int bits) { return __ushort_as_half(static_cast<unsigned short>(bits)); }
    static int bits(__half a) { return __half_as_ushort(a); }
};
template <>
struct Names<__nv_bfloat16> {
    using Pair = __nv_bfloat162;
    static constexpr int kExponentBits = 8, kMantissaBits = 7;
    static __nv_bfloat16 from_bits(int bits) { return __ushort_as_bfloat16(static_cast<unsigned short>(bits)); }
    static int bits(__nv_bfloat16 a) { return __bfloat16_as_ushort(a); }
};

template <class T>
int bits(T a) {
    return Names<T>::bits(a);
}

// All values that are not negative, in order: the position is the bit pattern. Infinity counts as the next power of
// two.
template <class T>
const std::vector<double>& values() {
    static const std::vector<double> all = [] {
        constexpr int kMantissaBits = Names<T>::kMantissaBits;
        constexpr int kBias = (1 << (Names<T>::kExponentBits - 1)) - 1;
        std::vector<double> result;
        for (int pattern = 0; pattern >> kMantissaBits < (1 << Names<T>::kExponentBits) - 1; ++pattern) {
            const int exponent = std::max(pattern >> kMantissaBits, 1);
            const int hidden_bit = pattern >> kMantissaBits == 0 ? 0 : 1 << kMantissaBits;
            const int significand = (pattern & ((1 << kMantissaBits) - 1)) + hidden_bit;
            result.push_back(std::ldexp(significand, exponent - kBias - kMantissaBits));
        }
        result.push_back(std::ldexp(1.0, kBias + 1));
        return result;
    }();
    return all;
}

template <class T>
int infinity() {
    return static_cast<int>(values<T>().size()) - 1;
}

// The bit pattern nearest to a number that `Number` can compare with a value and with the middle between two.
template <class T, class Number, class Convert>
int nearest(Number x, bool negative, Convert convert) {
    const std::vector<double>& all = values<T>();
    const auto found = std::lower_bound(all.begin(), all.end(), x, [&](double a, Number b) { return convert(a) < b; });
    const int sign = negative ? 0x8000 : 0;
    if (found == all.end()) return sign | infinity<T>();
    const int above = static_cast<int>(found - all.begin());
    if (convert(*found) == x) return sign | above;
    const Number middle = convert((all[above - 1] + all[above]) / 2);
    if (x == middle) return sign | (above % 2 == 0 ? above : above - 1);
    return sign | (x < middle ? above - 1 : above);
}

template <class T>
int nearest(double x) {
    if (std::isnan(x)) return 0x7fff;
    return nearest<T>(std::abs(x), std::signbit(x), [](double a) { return a; });
}

Fixed fixed(double x) {
    const double units = std::ldexp(x, 64);
    return std::abs(units) < 0x1p126 ? static_cast<Fixed>(units) : static_cast<Fixed>(1) << 126;
}

template <class T>
int nearest(Fixed x, bool negative_zero) {
    return nearest<T>(x < 0 ? -x : x, x < 0 || (x == 0 && negative_zero), fixed);
}

// Anything: every exponent, subnormal numbers, infinities and NaN.
template <class T>
T any(std::mt19937& random) {
    return Names<T>::from_bits(static_cast<int>(random() & 0xffff));
}

// Numbers of a size that 64 bits after the point are enough for products of two.
template <class T>
T moderate(std::mt19937& random) {
    const double mantissa = 1 + std::ldexp(random() % (1u << Names<T>::kMantissaBits), -Names<T>::kMantissaBits);
    const double magnitude = std::ldexp(mantissa, static_cast<int>(random() % 24) - 12);
    return T(random() % 2 == 0 ? magnitude : -magnitude);
}

template <class T>
void check_arithmetic() {
    INFO("seed " << kSeed);
    std::mt19937 random(kSeed);
    int wrong_sums = 0, wrong_differences = 0, wrong_products = 0, wrong_quotients = 0;
    for (int i = 0; i < 200'000; ++i) {
        const T a = i % 2 == 0 ? any<T>(random) : moderate<T>(random);
        const T b = i % 3 == 0 ? any<T>(random) : moderate<T>(random);
        const double x = float(a), y = float(b);
        wrong_sums += bits(__hadd(a, b)) != nearest<T>(x + y);
        wrong_differences += bits(__hsub(a, b)) != nearest<T>(x - y);
        wrong_products += bits(__hmul(a, b)) != nearest<T>(x * y);
        wrong_quotients += bits(__hdiv(a, b)) != nearest<T>(x / y);
        wrong_sums += bits(a + b) != bits(__hadd(a, b));
        wrong_differences += bits(a - b) != bits(__hsub(a, b));
        wrong_products += bits(a * b) != bits(__hmul(a, b));
        wrong_quotients += bits(a / b) != bits(__hdiv(a, b));
    }
    CHECK(wrong_sums == 0);
    CHECK(wrong_differences == 0);
    CHECK(wrong_products == 0);
    CHECK(wrong_quotients == 0);
}

// Kills the usual wrong answers: the product rounded before it is added; the sum in float, rounded to 16 bits after it.
template <class T>
void check_fused_multiply_add() {
    INFO("seed " << kSeed);
    std::mt19937 random(kSeed);
    int wrong = 0, product_rounded = 0, sum_in_float = 0;
    for (int i = 0; i < 200'000; ++i) {
        const T a = moderate<T>(random), b = moderate<T>(random);
        T c = moderate<T>(random);
        if (i % 2 == 0) c = T(float(c) * 0x1p-16f);  // too small to change the sum, except next to a tie
        const double product = double(float(a)) * float(b);
        const int expected = nearest<T>(fixed(product) + fixed(float(c)), false);
        wrong += bits(__hfma(a, b, c)) != expected;
        product_rounded += bits(T(float(T(product)) + float(c))) != expected;
        sum_in_float += bits(T(static_cast<float>(product) + float(c))) != expected;
    }
    CHECK(wrong == 0);
    CHECK(product_rounded > 1000);
    CHECK(sum_in_float > 0);
}

template <class T>
void check_comparisons() {
    INFO("seed " << kSeed);
    std::mt19937 random(kSeed);
    const int special[] = {0, 0x8000, 1, 0x8001, infinity<T>(), 0x8000 | infinity<T>(), 0x7fff, 0xffff, 0x3c00};
    int wrong = 0;
    for (int i = 0; i < 50'000; ++i) {
        const T a = i % 2 == 0 ? any<T>(random) : Names<T>::from_bits(special[random() % 9]);
        const T b = i % 3 == 0 ? any<T>(random) : Names<T>::from_bits(special[random() % 9]);
        const float x = a, y = b;
        const bool unordered = std::isnan(x) || std::isnan(y);
        wrong += __heq(a, b) != (x == y) || (a == b) != (x == y);
        wrong += __hne(a, b) != (!unordered && x != y);  // unlike the operator
        wrong += __hneu(a, b) != (x != y) || (a != b) != (x != y);
        wrong += __hlt(a, b) != (x < y) || (a < b) != (x < y);
        wrong += __hle(a, b) != (x <= y) || (a <= b) != (x <= y);
        wrong += __hgt(a, b) != (x > y) || (a > b) != (x > y);
        wrong += __hge(a, b) != (x >= y) || (a >= b) != (x >= y);
        wrong += __hequ(a, b) != (unordered || x == y);
        wrong += __hltu(a, b) != !(x >= y) || __hleu(a, b) != !(x > y);
        wrong += __hgtu(a, b) != !(x <= y) || __hgeu(a, b) != !(x < y);
        wrong += __hisnan(a) != std::isnan(x);
        wrong += __hisinf(a) != (std::isinf(x) ? (x < 0 ? -1 : 1) : 0);
    }
    CHECK(wrong == 0);

    const T nan = Names<T>::from_bits(0x7fff), other_nan = Names<T>::from_bits(0xffff);
    const T one(1.0f), two(2.0f), zero(0.0f), minus_zero(-0.0f);
    const T infinite = Names<T>::from_bits(infinity<T>());
    CHECK(float(__hmax(one, two)) == 2);
    CHECK(float(__hmin(one, two)) == 1);
    CHECK(float(__hmax(nan, one)) == 1);  // the number wins
    CHECK(float(__hmax(one, nan)) == 1);
    CHECK(float(__hmin(nan, one)) == 1);
    CHECK(float(__hmin(one, nan)) == 1);
    CHECK(bits(__hmax(other_nan, other_nan)) == 0x7fff);
    CHECK(bits(__hmax_nan(one, nan)) == 0x7fff);  // NaN wins
    CHECK(bits(__hmin_nan(other_nan, one)) == 0x7fff);
    CHECK(float(__hmax_nan(one, two)) == 2);
    CHECK(float(__hmax(__hneg(infinite), nan)) == -INFINITY);  // how a masked row's maximum starts
    for (const auto& [a, b] : {std::pair(zero, minus_zero), std::pair(minus_zero, zero)}) {
        CHECK(bits(__hmax(a, b)) == 0x0000);
        CHECK(bits(__hmin(a, b)) == 0x8000);
        CHECK(bits(__hmax_nan(a, b)) == 0x0000);
        CHECK(bits(__hmin_nan(a, b)) == 0x8000);
    }

    CHECK(float(__hadd_sat(one, one)) == 1);
    CHECK(bits(__hsub_sat(zero, one)) == 0);
    CHECK(bits(__hmul_sat(nan, one)) == 0);
    CHECK(bits(__hmul_sat(minus_zero, one)) == 0);
    CHECK(float(__hfma_sat(two, two, T(-3.5f))) == 0.5f);
    CHECK(float(__hfma_relu(two, two, T(-3.0f))) == 1);
    CHECK(bits(__hfma_relu(two, two, T(-5.0f))) == 0);
    CHECK(bits(__hfma_relu(two, nan, one)) == 0x7fff);
    CHECK(bits(__hneg(zero)) == 0x8000);
    CHECK(bits(__habs(minus_zero)) == 0);
}

// Each function of a pair is the function of a number, half by half, and the halves are not exchanged.
template <class T>
void check_pairs() {
    using Pair = typename Names<T>::Pair;
    INFO("seed " << kSeed);
    std::mt19937 random(kSeed);
    int wrong = 0;
    const auto expect = [&](Pair found, T low, T high) {
        wrong += bits(found.x) != bits(low) || bits(found.y) != bits(high);
    };
    for (int i = 0; i < 20'000; ++i) {
        const T a = any<T>(random), b = any<T>(random), c = any<T>(random), d = any<T>(random), e = any<T>(random),
                f = any<T>(random);
        const Pair p(a, b), q(c, d), r(e, f);
        expect(__hadd2(p, q), __hadd(a, c), __hadd(b, d));
        expect(__hsub2(p, q), __hsub(a, c), __hsub(b, d));
        expect(__hmul2(p, q), __hmul(a, c), __hmul(b, d));
        expect(__h2div(p, q), __hdiv(a, c), __hdiv(b, d));
        expect(p + q, a + c, b + d);
        expect(p - q, a - c, b - d);
        expect(p * q, a * c, b * d);
        expect(p / q, a / c, b / d);
        expect(-p, -a, -b);
        expect(__hfma2(p, q, r), __hfma(a, c, e), __hfma(b, d, f));
        expect(__hfma2_relu(p, q, r), __hfma_relu(a, c, e), __hfma_relu(b, d, f));
        expect(__hneg2(p), __hneg(a), __hneg(b));
        expect(__habs2(p), __habs(a), __habs(b));
        expect(__hmax2(p, q), __hmax(a, c), __hmax(b, d));
        expect(__hmin2(p, q), __hmin(a, c), __hmin(b, d));
        expect(__hmax2_nan(p, q), __hmax_nan(a, c), __hmax_nan(b, d));
        expect(__hmin2_nan(p, q), __hmin_nan(a, c), __hmin_nan(b, d));
        expect(__hadd2_sat(p, q), __hadd_sat(a, c), __hadd_sat(b, d));
        expect(h2exp(p), hexp(a), hexp(b));
        expect(h2log2(p), hlog2(a), hlog2(b));
        expect(h2rsqrt(p), hrsqrt(a), hrsqrt(b));
        expect(__heq2(p, q), T(__heq(a, c) ? 1 : 0), T(__heq(b, d) ? 1 : 0));
        expect(__hlt2(p, q), T(__hlt(a, c) ? 1 : 0), T(__hlt(b, d) ? 1 : 0));
        expect(__hgeu2(p, q), T(__hgeu(a, c) ? 1 : 0), T(__hgeu(b, d) ? 1 : 0));
        expect(__hisnan2(p), T(__hisnan(a) ? 1 : 0), T(__hisnan(b) ? 1 : 0));
        expect(__lowhigh2highlow(p), b, a);
        wrong += __hgt2_mask(p, q) != ((__hgt(a, c) ? 0xffffu : 0u) | (__hgt(b, d) ? 0xffff0000u : 0u));
        wrong += __hble2(p, q) != (__hle(a, c) && __hle(b, d));
        wrong += (p == q) != (a == c && b == d);
    }
    CHECK(wrong == 0);

    const Pair p(T(1.0f), T(2.0f));
    CHECK(__low2float(p) == 1);
    CHECK(__high2float(p) == 2);
    std::uint16_t in_memory[2];
    std::memcpy(in_memory, &p, sizeof(p));
    CHECK(in_memory[0] == bits(T(1.0f)));  // the low half comes first
    CHECK(in_memory[1] == bits(T(2.0f)));

    // __hbne2 asks whether both halves differ, != whether both differ or cannot be compared.
    CHECK(__hbeq2(p, p));
    CHECK(!__hbne2(p, Pair(T(1.0f), T(3.0f))));
    CHECK(__hbne2(p, Pair(T(5.0f), T(3.0f))));
    // (1 + 2i)(3 + 4i) + (10 + 20i) = 5 + 30i
    const Pair z = __hcmadd(p, Pair(T(3.0f), T(4.0f)), Pair(T(10.0f), T(20.0f)));
    CHECK(float(z.x) == 5);
    CHECK(float(z.y) == 30);
}

template <class T>
void check_functions() {
    int wrong = 0;
    for (int pattern = 0; pattern < 0x10000; ++pattern) {
        const T a = Names<T>::from_bits(pattern);
        const double x = float(a);
        wrong += bits(hexp(a)) != nearest<T>(std::exp(x));
        wrong += bits(hexp2(a)) != nearest<T>(std::exp2(x));
        wrong += bits(hlog(a)) != nearest<T>(std::log(x));
        wrong += bits(hlog2(a)) != nearest<T>(std::log2(x));
        wrong += bits(hsqrt(a)) != nearest<T>(std::sqrt(x));
        wrong += bits(hrsqrt(a)) != nearest<T>(1 / std::sqrt(x));
        wrong += bits(hrcp(a)) != nearest<T>(1 / x);
        wrong += bits(hsin(a)) != nearest<T>(std::sin(x));
        wrong += bits(hcos(a)) != nearest<T>(std::cos(x));
        wrong += bits(hfloor(a)) != nearest<T>(std::floor(x));
        wrong += bits(hceil(a)) != nearest<T>(std::ceil(x));
        wrong += bits(htrunc(a)) != nearest<T>(std::trunc(x));
        wrong += bits(hrint(a)) != nearest<T>(std::nearbyint(x));
        wrong += bits(-a) != nearest<T>(-x) || bits(__habs(a)) != nearest<T>(std::abs(x));
        wrong += bool(a) != (x != 0);
    }
    CHECK(wrong == 0);
    CHECK(float(hexp10(T(2.0f))) == 100);
    CHECK(float(hlog10(T(100.0f))) == 2);
}

// Neighbours in the list, not the rounding's own arithmetic: the result lies on the right side, and nothing lies
// between.
template <class T, class Round>
int count_wrong_roundings(Round round_down, Round round_up, Round round_to_zero) {
    std::mt19937 random(kSeed);
    const std::vector<double>& all = values<T>();
    int wrong = 0;
    for (int i = 0; i < 100'000; ++i) {
        const auto pattern = static_cast<std::uint32_t>(random());
        float magnitude;
        std::memcpy(&magnitude, &pattern, sizeof(magnitude));
        if (i % 2 == 0)
            magnitude = static_cast<float>(std::ldexp(1 + std::ldexp(pattern >> 8, -24), pattern % 48 - 28));
        if (i % 5 == 0) magnitude = static_cast<float>(all[pattern % all.size()]);
        magnitude = std::abs(magnitude);
        if (!std::isfinite(magnitude)) continue;
        const auto found = std::upper_bound(all.begin(), all.end() - 1, static_cast<double>(magnitude));
        const int below = static_cast<int>(found - all.begin()) - 1;
        const int above = all[below] == magnitude ? below : below + 1;
        wrong += bits(round_down(magnitude)) != below || bits(round_up(magnitude)) != above;
        wrong += bits(round_down(-magnitude)) != (above | 0x8000) || bits(round_up(-magnitude)) != (below | 0x8000);
        wrong += bits(round_to_zero(magnitude)) != below || bits(round_to_zero(-magnitude)) != (below | 0x8000);
    }
    return wrong;
}

}  // namespace

TEST_CASE("the layouts of CUDA's 16-bit types") {
    static_assert(sizeof(__half) == 2 && alignof(__half) == 2 && sizeof(__half_raw) == 2 && alignof(__half_raw) == 2);
    static_assert(sizeof(__half2) == 4 && alignof(__half2) == 4 && sizeof(__half2_raw) == 4);
    static_assert(sizeof(__nv_bfloat16) == 2 && alignof(__nv_bfloat16) == 2 && sizeof(__nv_bfloat16_raw) == 2);
    static_assert(sizeof(__nv_bfloat162) == 4 && alignof(__nv_bfloat162) == 4 && alignof(__nv_bfloat162_raw) == 4);
    static_assert(std::is_trivially_default_constructible_v<__half> && std::is_trivially_copyable_v<__half>);
    static_assert(std::is_trivially_default_constructible_v<__half2> && std::is_trivially_copyable_v<__half2>);
    static_assert(std::is_trivially_default_constructible_v<__nv_bfloat16>);
    static_assert(std::is_trivially_default_constructible_v<__nv_bfloat162>);
    static_assert(std::is_trivially_copyable_v<__nv_bfloat16> && std::is_trivially_copyable_v<__nv_bfloat162>);
    static_assert(std::is_same_v<half, __half> && std::is_same_v<half2, __half2>);
    static_assert(std::is_same_v<nv_bfloat16, __nv_bfloat16> && std::is_same_v<nv_bfloat162, __nv_bfloat162>);

    static_assert(std::is_convertible_v<float, __half> && std::is_convertible_v<double, __half>);
    static_assert(std::is_convertible_v<int, __nv_bfloat16> && std::is_convertible_v<__nv_bfloat16, float>);
    static_assert(std::is_constructible_v<__half, __nv_bfloat16> && !std::is_convertible_v<__nv_bfloat16, __half>);
    static_assert(std::is_constructible_v<__nv_bfloat16, __half> && !std::is_convertible_v<__half, __nv_bfloat16>);
    SUCCEED();
}

TEST_CASE("the sizes and alignments of CUDA's vector types") {
#define CHECK_LAYOUT(type, size, alignment) static_assert(sizeof(type) == (size) && alignof(type) == (alignment))
#define CHECK_LAYOUTS(type, size)                                              \
    CHECK_LAYOUT(type##1, size, size);                                         \
    CHECK_LAYOUT(type##2, 2 * (size), 2 * (size));                             \
    CHECK_LAYOUT(type##3, 3 * (size), size);                                   \
    CHECK_LAYOUT(type##4, 4 * (size), (size) == 8 ? 16 : 4 * (size));          \
    static_assert(std::is_trivial_v<type##4> && std::is_aggregate_v<type##4>); \
    static_assert(std::is_trivial_v<type##3> && std::is_aggregate_v<type##2>)
    CHECK_LAYOUTS(char, 1);
    CHECK_LAYOUTS(uchar, 1);
    CHECK_LAYOUTS(short, 2);
    CHECK_LAYOUTS(ushort, 2);
    CHECK_LAYOUTS(int, 4);
    CHECK_LAYOUTS(uint, 4);
    CHECK_LAYOUTS(long, 8);
    CHECK_LAYOUTS(ulong, 8);
    CHECK_LAYOUTS(longlong, 8);
    CHECK_LAYOUTS(ulonglong, 8);
    CHECK_LAYOUTS(float, 4);
    CHECK_LAYOUTS(double, 8);
    CHECK_LAYOUT(dim3, 12, 4);
    static_assert(alignof(float2) == 8 && alignof(float3) == 4 && alignof(float4) == 16 && alignof(uchar4) == 4);

    static_assert(dim3(7).x == 7 && dim3(7).y == 1 && dim3(7, 3).z == 1);
    static_assert(dim3(uint3{2, 3, 4}).z == 4 && static_cast<uint3>(dim3(5, 6)).y == 6);

    const float4 v = make_float4(1, 2, 3, 4);
    CHECK(v.x + 10 * v.y + 100 * v.z + 1000 * v.w == 4321);
    const uchar3 c = make_uchar3(1, 2, 3);
    CHECK(c.x + 10 * c.y + 100 * c.z == 321);
}

TEST_CASE("16-bit arithmetic rounds once, to nearest") {
    check_arithmetic<__half>();
    check_arithmetic<__nv_bfloat16>();
}

TEST_CASE("arithmetic in float is enough where results of two bfloat16 are subnormal floats") {
    // Every product and quotient of two significands, at every exponent from below the smallest number to above the
    // smallest normal one.
    int wrong = 0;
    for (int m = 128; m < 256; ++m) {
        for (int n = 128; n < 256; ++n) {
            for (int exponent = -138; exponent <= -124; ++exponent) {
                const __nv_bfloat16 a = std::ldexp(float(m), -70), b = std::ldexp(float(n), exponent + 70 - 14);
                const __nv_bfloat16 reciprocal_scale = std::ldexp(float(n), -exponent - 70);
                wrong += bits(__hmul(a, b)) != nearest<__nv_bfloat16>(double(float(a)) * float(b));
                wrong += bits(__hdiv(a, reciprocal_scale)) !=
                         nearest<__nv_bfloat16>(double(float(a)) / double(float(reciprocal_scale)));
            }
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("a fused multiply-add rounds once") {
    check_fused_multiply_add<__half>();
    check_fused_multiply_add<__nv_bfloat16>();

    // 131 · 192 = 196.5 · 128: a tie, and 196 is even. What is added is too small for the sum to be a double, let alone
    // a float: both of them would leave the tie, and give 196 three times. From the odd 193 below, 194 three times.
    const __nv_bfloat16 tiny = 0x1p-100f, factor = 192.0f;
    CHECK(float(__hfma(__nv_bfloat16(131.0f), factor, tiny)) == 197 * 128);
    CHECK(float(__hfma(__nv_bfloat16(131.0f), factor, __nv_bfloat16(0.0f))) == 196 * 128);
    CHECK(float(__hfma(__nv_bfloat16(131.0f), factor, -tiny)) == 196 * 128);
    CHECK(float(__hfma(__nv_bfloat16(129.0f), factor, tiny)) == 194 * 128);
    CHECK(float(__hfma(__nv_bfloat16(129.0f), factor, __nv_bfloat16(0.0f))) == 194 * 128);
    CHECK(float(__hfma(__nv_bfloat16(129.0f), factor, -tiny)) == 193 * 128);
    CHECK(float(__hfma(__nv_bfloat16(-129.0f), factor, tiny)) == -193 * 128);

    // The product alone would be infinite, or vanish.
    const __half large = 300.0f, small = 0x1p-13f;
    CHECK(float(__hfma(large, large, __half(-65504.0f))) == 24496);
    CHECK(__half_as_ushort(__hfma(small, small, __half(0.0f))) == 0);
    CHECK(float(__hfma(small, small, __half(0x1p-24f))) == 0x1p-24f);
    CHECK(std::isinf(float(__hfma(large, large, __half(0.0f)))));
    CHECK(std::isnan(float(__hfma(CUDART_INF_FP16, __half(0.0f), large))));
    CHECK(std::isnan(float(__hfma(CUDART_INF_FP16, large, __hneg(CUDART_INF_FP16)))));
    CHECK(__half_as_ushort(__hfma(__half(-1.0f), __half(0.0f), CUDART_NEG_ZERO_FP16)) == 0x8000);
}

TEST_CASE("comparisons, maxima and minima with NaN and signed zeros") {
    check_comparisons<__half>();
    check_comparisons<__nv_bfloat16>();
}

TEST_CASE("functions of pairs work half by half") {
    check_pairs<__half>();
    check_pairs<__nv_bfloat16>();
}

TEST_CASE("functions of every 16-bit number") {
    check_functions<__half>();
    check_functions<__nv_bfloat16>();
}

TEST_CASE("conversions from float in the other three roundings") {
    CHECK(count_wrong_roundings<__half>(__float2half_rd, __float2half_ru, __float2half_rz) == 0);
    CHECK(count_wrong_roundings<__nv_bfloat16>(__float2bfloat16_rd, __float2bfloat16_ru, __float2bfloat16_rz) == 0);
    CHECK(__half_as_ushort(__float2half_rz(1e9f)) == 0x7bff);
    CHECK(__half_as_ushort(__float2half_rz(INFINITY)) == 0x7c00);
    CHECK(__half_as_ushort(__float2half_ru(NAN)) == 0x7fff);
    CHECK(__half_as_ushort(__float2half_ru(1e-30f)) == 0x0001);
    CHECK(__half_as_ushort(__float2half_rd(-1e-30f)) == 0x8001);
    CHECK(__bfloat16_as_ushort(__float2bfloat16_rz(-3.4e38f)) == 0xff7f);
}

TEST_CASE("pairs: which half is which") {
    const __half2 h = __floats2half2_rn(1, 2);
    CHECK(float(h.x) == 1);
    CHECK(float(__low2half(h)) == 1);
    CHECK(float(__high2half(h)) == 2);
    CHECK(__high2float(__half2half2(__half(3.0f))) == 3);
    CHECK(__high2float(__float2half2_rn(4)) == 4);
    CHECK(__half22float2(__float22half2_rn(make_float2(5, 6))).x == 5);
    CHECK(__half22float2(__float22half2_rn(make_float2(5, 6))).y == 6);
    const __half2 g = make_half2(__half(7.0f), __half(8.0f));
    CHECK(__halves2half2(__high2half(g), __low2half(g)) == make_half2(8, 7));
    CHECK(__low2half2(g) == make_half2(7, 7));
    CHECK(__high2half2(g) == make_half2(8, 8));
    CHECK(__lows2half2(h, g) == make_half2(1, 7));
    CHECK(__highs2half2(h, g) == make_half2(2, 8));
    CHECK(__half2_raw(h).x == 0x3c00);
    CHECK(__half2_raw(h).y == 0x4000);

    const __nv_bfloat162 b = __floats2bfloat162_rn(1, 2);
    CHECK(float(__low2bfloat16(b)) == 1);
    CHECK(float(__high2bfloat16(b)) == 2);
    CHECK(__high2float(__bfloat162bfloat162(__nv_bfloat16(3.0f))) == 3);
    CHECK(__high2float(__float2bfloat162_rn(4)) == 4);
    CHECK(__bfloat1622float2(__float22bfloat162_rn(make_float2(5, 6))).y == 6);
    const __nv_bfloat162 d = make_bfloat162(7, 8);
    CHECK(__halves2bfloat162(__high2bfloat16(d), __low2bfloat16(d)) == make_bfloat162(8, 7));
    CHECK(__low2bfloat162(d) == make_bfloat162(7, 7));
    CHECK(__high2bfloat162(d) == make_bfloat162(8, 8));
    CHECK(__lows2bfloat162(b, d) == make_bfloat162(1, 7));
    CHECK(__highs2bfloat162(b, d) == make_bfloat162(2, 8));
    CHECK(__nv_bfloat162_raw(b).y == 0x4000);
}

TEST_CASE("integers: rounding, saturation, NaN") {
    CHECK(__half2int_rn(__half(2.5f)) == 2);
    CHECK(__half2int_rn(__half(3.5f)) == 4);
    CHECK(__half2int_rz(__half(-2.5f)) == -2);
    CHECK(__half2int_rd(__half(-2.5f)) == -3);
    CHECK(__half2int_ru(__half(-2.5f)) == -2);
    CHECK(__half2uint_rn(__half(-7.0f)) == 0);
    CHECK(__half2int_rn(CUDART_INF_FP16) == 2147483647);
    CHECK(__half2int_rz(-CUDART_INF_FP16) == -2147483647 - 1);
    CHECK(__half2int_rn(CUDART_NAN_FP16) == 0);
    CHECK(__half2short_rz(__half(40000.0f)) == 32767);
    CHECK(__half2uchar_rz(__half(300.0f)) == 255);
    CHECK(__half2char_rz(__half(-300.0f)) == -128);
    CHECK(__half2ll_rn(CUDART_NAN_FP16) == std::numeric_limits<long long>::min());
    CHECK(__bfloat162ull_rz(__nv_bfloat16(1e30f)) == std::numeric_limits<unsigned long long>::max());
    CHECK(__bfloat162int_rn(__nv_bfloat16(0x1p31f)) == 2147483647);
    CHECK(int(__half(-3.75f)) == -3);

    CHECK(float(__int2half_rn(2049)) == 2048);
    CHECK(float(__int2half_rn(2051)) == 2052);
    CHECK(float(__int2half_ru(2049)) == 2050);
    CHECK(float(__int2half_rd(-2049)) == -2050);
    CHECK(float(__int2half_rz(-2051)) == -2050);
    CHECK(std::isinf(float(__uint2half_rn(65520u))));
    CHECK(float(__uint2half_rz(1u << 31)) == 65504);
    CHECK(float(__half(7)) == 7);
    // 64 bits that differ from a tie in the last one, which no double holds.
    constexpr long long kTie = (1ll << 62) + (1ll << 54);
    CHECK(float(__ll2bfloat16_rn(kTie)) == 0x1p62f);
    CHECK(float(__ll2bfloat16_rn(kTie + 1)) == 0x1.02p62f);
    CHECK(float(__ll2bfloat16_rn(-kTie - 1)) == -0x1.02p62f);
    CHECK(float(__ll2bfloat16_ru((1ll << 62) + 1)) == 0x1.02p62f);
    CHECK(float(__ull2bfloat16_rz(~0ull)) == 0x1.fep63f);
    CHECK(float(__ll2bfloat16_rn(std::numeric_limits<long long>::min())) == -0x1p63f);
}

TEST_CASE("a double becomes 16 bits in one rounding, and the types convert into each other") {
    CHECK(__half_as_ushort(__double2half(1 + 0x1p-11 + 0x1p-40)) == 0x3c01);
    CHECK(__bfloat16_as_ushort(__double2bfloat16(1 + 0x1p-8 + 0x1p-40)) == 0x3f81);
    CHECK(__half_as_ushort(__half(__nv_bfloat16(65536.0f))) == 0x7c00);
    CHECK(__bfloat16_as_ushort(__nv_bfloat16(__half(1 + 0x1p-10f))) == 0x3f80);
    CHECK(__short_as_half(__half_as_short(__half(-1.5f))) == __half(-1.5f));
    CHECK(__short_as_bfloat16(__bfloat16_as_short(__nv_bfloat16(-1.5f))) == __nv_bfloat16(-1.5f));

    __half h = 1.0f;
    h += 0x1p-11f;  // lost: half an epsilon
    CHECK(float(h) == 1);
    CHECK(float(h++) == 1);
    CHECK(float(++h) == 3);
    CHECK(float(h--) == 3);
    h = 2.5;
    h *= __half(2);
    h -= __half(1);
    h /= __half(8);
    CHECK(float(h) == 0.5f);
    CHECK(float(+h) == 0.5f);
    __nv_bfloat162 pair = make_bfloat162(1, 2);
    pair += pair;
    ++pair;
    CHECK(pair == make_bfloat162(3, 5));
}
