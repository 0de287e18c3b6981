// float16 and bfloat16 against a second definition: the list of all values of the format, and a search in it.
#include "common/tensor/half.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "tests/support/catch.hpp"

namespace {

using attn::bfloat16;
using attn::float16;

// The value that the format's definition gives to 15 bits without sign; infinity counts as the next power of two.
double value_of(int bits, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = bits >> mantissa_bits;
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

class Nearest {
  public:
    explicit Nearest(int exponent_bits) : infinity_(((1 << exponent_bits) - 1) << (15 - exponent_bits)) {
        for (int bits = 0; bits <= infinity_; ++bits) values_.push_back(value_of(bits, exponent_bits));
    }
    double value(int bits) const { return values_[bits]; }
    int infinity() const { return infinity_; }

    // Ties go to the even one of two neighbours.
    int operator()(double x) const {
        const int sign = std::signbit(x) ? 0x8000 : 0;
        x = std::abs(x);
        if (std::isnan(x)) return 0x7fff;
        const int above = static_cast<int>(std::lower_bound(values_.begin(), values_.end(), x) - values_.begin());
        if (above > infinity_) return sign | infinity_;
        if (values_[above] == x) return sign | above;
        const double middle = (values_[above - 1] + values_[above]) / 2;  // exact: one bit more than its neighbours
        if (x == middle) return sign | (above % 2 == 0 ? above : above - 1);
        return sign | (x < middle ? above - 1 : above);
    }

  private:
    int infinity_;
    std::vector<double> values_;
};

template <class T>
struct Format;
template <>
struct Format<float16> {
    static constexpr int kExponentBits = 5;
};
template <>
struct Format<bfloat16> {
    static constexpr int kExponentBits = 8;
};

template <class T>
const Nearest& nearest() {
    static const Nearest instance(Format<T>::kExponentBits);
    return instance;
}

// Counts instead of asserting once per value: an assertion costs a thousand times what a conversion does.
struct Mismatches {
    int count = 0;
    double first = 0;
    int found = 0, expected = 0;

    template <class T, class Source>
    void compare(Source x) {
        const int bits = T(x).bits();
        const int correct = nearest<T>()(x);
        if (bits == correct) return;
        if (count++ == 0) first = x, found = bits, expected = correct;
    }
};

#define CHECK_NONE(mismatches)                                                               \
    do {                                                                                     \
        INFO("first: " << (mismatches).first << " became " << (mismatches).found << ", not " \
                       << (mismatches).expected);                                            \
        CHECK((mismatches).count == 0);                                                      \
    } while (false)

static_assert(sizeof(float16) == 2 && alignof(float16) == 2 && sizeof(bfloat16) == 2 && alignof(bfloat16) == 2);
static_assert(std::is_trivially_copyable_v<float16> && std::is_trivially_default_constructible_v<float16>);
static_assert(std::is_trivially_copyable_v<bfloat16> && std::is_trivially_default_constructible_v<bfloat16>);
static_assert(std::is_convertible_v<float16, float> && std::is_convertible_v<bfloat16, float>);
static_assert(!std::is_convertible_v<float, float16> && !std::is_convertible_v<double, bfloat16>);
static_assert(float16(1.0f).bits() == 0x3c00 && bfloat16(1.0f).bits() == 0x3f80, "usable in constant expressions");
static_assert(float16(-2).bits() == 0xc000 && bfloat16(3u).bits() == 0x4040, "and from integers");
static_assert(float(float16::from_bits(0x3555)) == 0.333251953125f &&
              float(bfloat16::from_bits(0x3eab)) == 0.333984375f);

static_assert(std::is_same_v<attn::accumulator_t<float16>, float>);
static_assert(std::is_same_v<attn::accumulator_t<const bfloat16>, float>);
static_assert(std::is_same_v<attn::accumulator_t<float>, float>);
static_assert(std::is_same_v<attn::accumulator_t<double>, double>);
static_assert(attn::round_to<float16>(2049.0).bits() == float16(2048.0f).bits());
static_assert(attn::round_to<float>(0.1) == 0.1f && attn::round_to<double>(0.1) == 0.1);

template <class T>
void check_every_pattern() {
    const Nearest& format = nearest<T>();
    int wrong_values = 0, wrong_round_trips = 0, lost_nans = 0;
    for (int bits = 0; bits < 0x10000; ++bits) {
        const float value = T::from_bits(static_cast<std::uint16_t>(bits));
        if ((bits & 0x7fff) > format.infinity()) {
            const T again(value), from_double(static_cast<double>(value));
            lost_nans += !(std::isnan(value) && again.bits() == 0x7fff && from_double.bits() == 0x7fff);
            continue;
        }
        const bool infinite = (bits & 0x7fff) == format.infinity();
        const double magnitude = infinite ? std::numeric_limits<double>::infinity() : format.value(bits & 0x7fff);
        wrong_values += !(value == (bits < 0x8000 ? magnitude : -magnitude) && std::signbit(value) == (bits >= 0x8000));
        wrong_round_trips += T(value).bits() != bits || T(static_cast<double>(value)).bits() != bits;
    }
    CHECK(wrong_values == 0);
    CHECK(wrong_round_trips == 0);
    CHECK(lost_nans == 0);
}

// Every value, every middle between two, and the next number on both sides of each: as float and as double.
template <class T>
void check_every_border() {
    const Nearest& format = nearest<T>();
    Mismatches mismatches;
    for (int bits = 0; bits < format.infinity(); ++bits) {
        for (const double x : {format.value(bits), (format.value(bits) + format.value(bits + 1)) / 2}) {
            const auto as_float = static_cast<float>(x);  // exact, but for bfloat16's last middle, which is no float
            for (const double sign : {1.0, -1.0}) {
                mismatches.compare<T>(sign * x);
                mismatches.compare<T>(sign * std::nextafter(x, 0.0));
                mismatches.compare<T>(sign * std::nextafter(x, 1e300));
                mismatches.compare<T>(static_cast<float>(sign) * as_float);
                mismatches.compare<T>(static_cast<float>(sign) * std::nextafter(as_float, 0.0f));
                mismatches.compare<T>(static_cast<float>(sign) * std::nextafter(as_float, 3e38f));
            }
        }
    }
    CHECK_NONE(mismatches);
}

template <class T>
void check_random_numbers() {
    constexpr int kSeed = 20240917;
    INFO("seed " << kSeed);
    std::mt19937_64 random(kSeed);
    Mismatches mismatches;
    for (int i = 0; i < 300'000; ++i) {
        const std::uint64_t bits = random();
        mismatches.compare<T>(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
        mismatches.compare<T>(std::bit_cast<double>(bits));
        const double mantissa = 1 + static_cast<double>(bits >> 12) * 0x1p-52;
        mismatches.compare<T>(std::ldexp(mantissa, static_cast<int>(bits % 64) - 40));  // the range of float16
        mismatches.compare<T>(static_cast<float>(std::ldexp(mantissa, static_cast<int>(bits % 64) - 40)));
    }
    CHECK_NONE(mismatches);
}

}  // namespace

TEST_CASE("every 16-bit pattern has its value and survives the way through float") {
    check_every_pattern<float16>();
    check_every_pattern<bfloat16>();
}

TEST_CASE("rounding to 16 bits is to nearest, ties to even: every border") {
    check_every_border<float16>();
    check_every_border<bfloat16>();
}

TEST_CASE("rounding to 16 bits is to nearest: random numbers of every size") {
    check_random_numbers<float16>();
    check_random_numbers<bfloat16>();
}

TEST_CASE("rounding to 16 bits at the ends of the range") {
    CHECK(float16(65504.0f).bits() == 0x7bff);
    CHECK(float16(65519.99f).bits() == 0x7bff);
    CHECK(float16(65520.0f).bits() == 0x7c00);  // the tie, and infinity is even
    CHECK(float16(-65520.0f).bits() == 0xfc00);
    CHECK(float16(65519.999999999).bits() == 0x7bff);
    CHECK(float16(1e30f).bits() == 0x7c00);
    CHECK(float16(0x1p-24f).bits() == 0x0001);
    CHECK(float16(0x1p-25f).bits() == 0x0000);  // the tie, and zero is even
    CHECK(float16(0x1.000002p-25f).bits() == 0x0001);
    CHECK(float16(-0x1p-26f).bits() == 0x8000);
    CHECK(float16(0x1.ffcp-15f).bits() == 0x0400);  // a subnormal number that is rounded to a normal one
    CHECK(float16(std::numeric_limits<float>::denorm_min()).bits() == 0x0000);
    CHECK(float16(std::numeric_limits<double>::denorm_min()).bits() == 0x0000);

    CHECK(bfloat16(0x1.fep127f).bits() == 0x7f7f);
    CHECK(bfloat16(0x1.fefffep127f).bits() == 0x7f7f);
    CHECK(bfloat16(0x1.ffp127f).bits() == 0x7f80);
    CHECK(bfloat16(std::numeric_limits<float>::max()).bits() == 0x7f80);
    CHECK(bfloat16(0x1p-133f).bits() == 0x0001);
    CHECK(bfloat16(0x1p-134f).bits() == 0x0000);
    CHECK(bfloat16(0x1.8p-134f).bits() == 0x0001);
    CHECK(bfloat16(1e-300).bits() == 0x0000);
    CHECK(bfloat16(-1e300).bits() == 0xff80);

    for (const float sign : {1.0f, -1.0f}) {
        CHECK(std::isinf(float(float16(sign * std::numeric_limits<float>::infinity()))));
        CHECK(std::signbit(float(bfloat16(sign * std::numeric_limits<double>::infinity()))) == (sign < 0));
    }
}

TEST_CASE("every NaN becomes the quiet one, and none becomes infinity") {
    // The payload 1 is lost when the mantissa is cut off: what is left would be infinity.
    for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
        CHECK(float16(std::bit_cast<float>(bits)).bits() == 0x7fff);
        CHECK(bfloat16(std::bit_cast<float>(bits)).bits() == 0x7fff);
    }
    for (const std::uint64_t bits : {0x7ff0000000000001ull, 0xfff8000000000000ull, 0x7fffffffffffffffull}) {
        CHECK(float16(std::bit_cast<double>(bits)).bits() == 0x7fff);
        CHECK(bfloat16(std::bit_cast<double>(bits)).bits() == 0x7fff);
    }
}

TEST_CASE("a double is rounded once, not first to float") {
    // A little above a tie. As a float it is the tie, and the tie goes down to even.
    CHECK(float16(1 + 0x1p-11 + 0x1p-40).bits() == 0x3c01);
    CHECK(float16(static_cast<float>(1 + 0x1p-11 + 0x1p-40)).bits() == 0x3c00);
    CHECK(bfloat16(1 + 0x1p-8 + 0x1p-40).bits() == 0x3f81);
    CHECK(bfloat16(static_cast<float>(1 + 0x1p-8 + 0x1p-40)).bits() == 0x3f80);
    // A little below a tie that goes up to even.
    CHECK(float16(1 + 0x1.8p-10 - 0x1p-40).bits() == 0x3c01);
    CHECK(float16(static_cast<float>(1 + 0x1.8p-10 - 0x1p-40)).bits() == 0x3c02);
    CHECK(bfloat16(1 + 0x1.8p-7 - 0x1p-40).bits() == 0x3f81);
    CHECK(bfloat16(static_cast<float>(1 + 0x1.8p-7 - 0x1p-40)).bits() == 0x3f82);
    // Subnormal results, and the border of infinity.
    CHECK(float16(0x1p-25 + 0x1p-60).bits() == 0x0001);
    CHECK(float16(65520 - 0x1p-30).bits() == 0x7bff);
}
