// The parts of CUDA that kernels are made of, against what the CUDA C++ Programming Guide says of each. What is
// expected is computed here, on the host, with plain loops.
#include "tests/common/emulator/primitives.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "common/tensor/half.hpp"
#include "tests/support/catch.hpp"

using namespace attn::test;

namespace {

constexpr int warp = 32;
constexpr unsigned full_mask = 0xffffffffu;

template <class T>
std::vector<T> random_values(int count, int lowest, int highest, unsigned seed = 1) {
    std::mt19937 engine(seed);
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T& value : values)
        value = static_cast<T>(lowest + static_cast<int>(engine() % static_cast<unsigned>(highest - lowest + 1)));
    return values;
}

template <class T>
std::vector<T> reversed(std::vector<T> values) {
    std::reverse(values.begin(), values.end());
    return values;
}

template <class T>
std::vector<T> sorted(std::vector<T> values) {
    std::sort(values.begin(), values.end());
    return values;
}

// The lane that `lane` reads from, as the guide has it: segments of `width` lanes; a lane out of reach gives the own
// value.
int source_lane(Shuffle kind, int lane, int argument, int width) {
    int first = lane / width * width, inside = lane % width;
    switch (kind) {
        case Shuffle::indexed: return first + ((argument % width) + width) % width;
        case Shuffle::up: return inside - argument >= 0 ? lane - argument : lane;
        case Shuffle::down: return inside + argument < width ? lane + argument : lane;
        default: {
            int other = lane ^ argument;
            return other < first + width ? other : lane;  // earlier segments may be read, later ones may not
        }
    }
}

template <class T>
void check_shuffles(const std::vector<T>& values) {
    for (Shuffle kind : {Shuffle::indexed, Shuffle::up, Shuffle::down, Shuffle::exclusive_or})
        for (int width : {32, 16, 8})
            for (int argument : {0, 1, 3, 7, 8, 15, 16, 31}) {
                std::vector<int> arguments(warp, argument);
                if (kind == Shuffle::indexed)  // here every lane may ask for another one
                    for (int lane = 0; lane < warp; ++lane) arguments[lane] = (argument + 5 * lane) % 32;
                std::vector<T> got = shuffle(kind, values, arguments, width);
                for (int lane = 0; lane < warp; ++lane) {
                    CAPTURE(static_cast<int>(kind), width, argument, lane);
                    REQUIRE(got[lane] == values[source_lane(kind, lane, arguments[lane], width)]);
                }
            }
}

template <class T>
void check_matches(const std::vector<T>& values, unsigned mask) {
    Matches got = match(values, mask);
    bool agree = true;
    for (int a = 0; a < warp; ++a)
        for (int b = 0; b < warp; ++b)
            if (mask >> a & 1 && mask >> b & 1 && values[a] != values[b]) agree = false;
    for (int lane = 0; lane < warp; ++lane) {
        if (!(mask >> lane & 1)) continue;
        CAPTURE(lane, mask);
        unsigned same = 0;
        for (int other = 0; other < warp; ++other)
            if (mask >> other & 1 && values[other] == values[lane]) same |= 1u << other;
        REQUIRE(got.any[lane] == same);
        REQUIRE(got.all[lane] == (agree ? mask : 0));
        REQUIRE(got.all_agree[lane] == agree);
    }
}

template <class T>
void check_reductions(const std::vector<T>& values, unsigned mask) {
    auto got = reduce(values, mask);
    if (!got) {
        WARN("not run: needs compute capability 8.0");
        return;
    }
    T add = 0, lowest = std::numeric_limits<T>::max(), highest = std::numeric_limits<T>::min();
    T all_bits = static_cast<T>(-1), some_bits = 0, odd_bits = 0;
    for (int lane = 0; lane < warp; ++lane) {
        if (!(mask >> lane & 1)) continue;
        add = static_cast<T>(static_cast<unsigned>(add) + static_cast<unsigned>(values[lane]));
        lowest = std::min(lowest, values[lane]);
        highest = std::max(highest, values[lane]);
        all_bits &= values[lane], some_bits |= values[lane], odd_bits ^= values[lane];
    }
    CHECK(got->add == add);
    CHECK(got->min == lowest);
    CHECK(got->max == highest);
    if constexpr (std::is_unsigned_v<T>) {
        CHECK(got->bit_and == all_bits);
        CHECK(got->bit_or == some_bits);
        CHECK(got->bit_xor == odd_bits);
    }
}

double ulp(double exact) {
    auto value = static_cast<float>(std::fabs(exact));
    return std::nextafter(value, std::numeric_limits<float>::infinity()) - value;
}

}  // namespace

// ---- blocks --------------------------------------------------------------------------------------------------------

TEST_CASE("shared memory of fixed size is exchanged over a barrier") {
    for (int count : {1, 31, 32, 33, 256}) {
        auto in = random_values<int>(count, -1000, 1000);
        CHECK(reverse_in_static_shared(in) == reversed(in));
    }
}

TEST_CASE("dynamic shared memory: arrays of two names, and their kernels one after the other") {
    for (int count : {1, 100, 1024}) {
        auto floats = random_values<float>(count, -1000, 1000);
        auto doubles = random_values<double>(count, -1000, 1000);
        std::vector<double> squares;
        for (double value : doubles) squares.push_back(value * value);
        CHECK(reverse_in_dynamic_shared(floats) == reversed(floats));
        CHECK(square_in_dynamic_shared(doubles) == squares);
        CHECK(reverse_in_dynamic_shared(floats) == reversed(floats));
    }
}

TEST_CASE("shared memory in a kernel template: each instance has its own") {
    auto floats = random_values<float>(64, -1000, 1000);
    auto shorts = random_values<short>(32, -1000, 1000);
    CHECK(reverse_in_template_float(floats) == reversed(floats));
    CHECK(reverse_in_template_short(shorts) == reversed(shorts));
}

TEST_CASE("more than 48 KiB of dynamic shared memory, asked for") {
    int count = 15 << 10;  // 60 KiB
    CHECK(sum_of_large_dynamic_shared(count) == 0.5 * count * (count - 1));
}

TEST_CASE("barriers that count and vote") {
    for (int threads : {1, 40, 256}) {
        std::vector<int> some = random_values<int>(threads, 0, 2), none(threads, 0), every(threads, 5);
        for (const auto& predicates : {some, none, every})
            for (int leavers : {0, threads / 3}) {
                int voters = threads - leavers;
                auto yes = static_cast<int>(
                    std::count_if(predicates.begin(), predicates.begin() + voters, [](int p) { return p != 0; }));
                BlockVotes got = block_votes(predicates, leavers);
                for (int thread = 0; thread < threads; ++thread) {
                    CAPTURE(threads, leavers, thread, yes);
                    bool votes = thread < voters;
                    REQUIRE(got.count[thread] == (votes ? yes : -1));
                    REQUIRE((got.all[thread] != 0) == (votes ? yes == voters : true));
                    REQUIRE((got.any[thread] != 0) == (votes ? yes != 0 : true));
                }
            }
    }
}

TEST_CASE("grids and blocks of one to three dimensions") {
    struct Case {
        Extent grid, block;
    };
    for (auto [grid, block] : {Case{{5, 1, 1}, {7, 1, 1}}, Case{{3, 2, 1}, {8, 4, 1}}, Case{{2, 3, 4}, {5, 3, 2}},
                               Case{{1, 1, 3}, {1, 2, 64}}, Case{{1, 1, 1}, {1024, 1, 1}}}) {
        std::vector<Place> got = places(grid, block);
        std::size_t next = 0;
        for (unsigned bz = 0; bz < grid[2]; ++bz)
            for (unsigned by = 0; by < grid[1]; ++by)
                for (unsigned bx = 0; bx < grid[0]; ++bx)
                    for (unsigned tz = 0; tz < block[2]; ++tz)
                        for (unsigned ty = 0; ty < block[1]; ++ty)
                            for (unsigned tx = 0; tx < block[0]; ++tx) {
                                const Place& place = got.at(next++);
                                REQUIRE(place.thread == Extent{tx, ty, tz});
                                REQUIRE(place.block == Extent{bx, by, bz});
                                REQUIRE(place.block_extent == block);
                                REQUIRE(place.grid_extent == grid);
                            }
        CHECK(next == got.size());
    }
}

TEST_CASE("warps are 32 threads in the order of the linear index") {
    for (Extent block : {Extent{64, 1, 1}, Extent{8, 8, 2}, Extent{3, 5, 7}}) {
        std::vector<int> got = first_of_warp(block);
        for (std::size_t thread = 0; thread < got.size(); ++thread)
            REQUIRE(got[thread] == static_cast<int>(thread / warp * warp));
    }
}

TEST_CASE("the block that is done last sees what the others wrote before their __threadfence") {
    for (int blocks : {1, 7, 64})
        for (int repetition = 0; repetition < 3; ++repetition) {
            auto in = random_values<float>(10000, -100, 100, static_cast<unsigned>(blocks + repetition));
            // Small integers: exact in any order.
            CHECK(sum_by_last_block(in, blocks) == std::accumulate(in.begin(), in.end(), 0.0f));
        }
}

// ---- warps ---------------------------------------------------------------------------------------------------------

TEST_CASE("shuffles of 4, 8 and 16 bytes in segments of 32, 16 and 8 lanes") {
    check_shuffles(random_values<int>(warp, -1000, 1000));
    check_shuffles(random_values<float>(warp, -1000, 1000));
    auto doubles = random_values<double>(warp, -1000, 1000);
    for (double& value : doubles) value += 1e-10;  // both halves of the eight bytes count
    check_shuffles(doubles);
    std::vector<Sixteen> quadruples;
    for (int lane = 0; lane < warp; ++lane) {
        auto x = static_cast<float>(lane);
        quadruples.push_back({x, x + 100, x + 200, x + 300});
    }
    check_shuffles(quadruples);
}

TEST_CASE("__syncwarp orders accesses to shared memory") {
    auto in = random_values<int>(warp, -1000, 1000);
    std::vector<int> expected = in;
    std::rotate(expected.begin(), expected.begin() + 1, expected.end());
    CHECK(rotate_with_syncwarp(in) == expected);
}

TEST_CASE("votes of a warp and of some of its lanes") {
    for (unsigned mask : {full_mask, 0x0000ffffu, 0xa5a5a5a5u, 1u << 31})
        for (const auto& predicates :
             {random_values<int>(warp, 0, 1), std::vector<int>(warp, 0), std::vector<int>(warp, -7)}) {
            unsigned ballot = 0;
            for (int lane = 0; lane < warp; ++lane)
                if (predicates[lane] != 0) ballot |= mask & 1u << lane;
            WarpVotes got = warp_votes(predicates, mask);
            for (int lane = 0; lane < warp; ++lane) {
                CAPTURE(mask, lane);
                if (mask >> lane & 1) {
                    REQUIRE(got.ballot[lane] == ballot);
                    REQUIRE((got.any[lane] != 0) == (ballot != 0));
                    REQUIRE((got.all[lane] != 0) == (ballot == mask));
                } else {
                    REQUIRE(got.any[lane] == -1);
                }
            }
        }
}

TEST_CASE("lanes with the same value find each other") {
    for (unsigned mask : {full_mask, 0x00ff00ffu}) {
        check_matches(random_values<unsigned>(warp, 0, 4), mask);
        check_matches(std::vector<unsigned>(warp, 7), mask);
        auto wide = random_values<std::uint64_t>(warp, 0, 3);
        for (auto& value : wide) value <<= 40;  // a difference in the upper half alone
        check_matches(wide, mask);
    }
}

TEST_CASE("reductions of a warp") {
    for (unsigned mask : {full_mask, 0x0f0ff0f0u}) {
        std::mt19937 engine(3);
        std::vector<unsigned> values(warp);
        for (unsigned& value : values) value = engine();
        check_reductions(values, mask);
        check_reductions(random_values<int>(warp, -100000, 100000), mask);
    }
}

TEST_CASE("two halves of a warp that shuffle a different number of times") {
    for (auto [low, high] : {std::pair{3, 5}, {5, 3}, {0, 4}, {4, 0}, {1, 9}}) {
        auto in = random_values<int>(warp, -10, 10);
        auto expected = in;
        for (int round = 0; round < 9; ++round) {
            auto before = expected;
            for (int lane = 0; lane < warp; ++lane)
                if (round < (lane < 16 ? low : high)) expected[lane] += before[lane ^ (1 << round % 4)];
        }
        CHECK(diverged_halves(in, low, high) == expected);
    }
}

TEST_CASE("the last warp of a block has fewer lanes") {
    for (int threads : {1, 8, 40, 63, 96}) {
        auto in = random_values<int>(threads, -1000, 1000);
        PartialWarp got = partial_warp(in);
        for (int thread = 0; thread < threads; ++thread) {
            int first = thread / warp * warp, lanes = std::min(warp, threads - first);
            CAPTURE(threads, thread);
            REQUIRE(got.from_below[thread] == in[thread == first ? thread : thread - 1]);
            REQUIRE(got.ballot[thread] == full_mask >> (32 - lanes));
        }
    }
}

// ---- memory --------------------------------------------------------------------------------------------------------

TEST_CASE("atomic addition: nothing is lost, and the old values are those of some order") {
    std::vector<int> ones(1000, 1), counted(1000);
    std::iota(counted.begin(), counted.end(), 5);
    AtomicRun<int> run = apply(Atomic::add, 5, ones);
    CHECK(run.result == 1005);
    CHECK(sorted(run.old) == counted);

    auto values = random_values<int>(500, -100, 100);
    CHECK(apply(Atomic::add, 7, values).result == std::accumulate(values.begin(), values.end(), 7));
    CHECK(apply(Atomic::sub, 7, values).result == 7 - std::accumulate(values.begin(), values.end(), 0));
    auto naturals = random_values<unsigned>(500, 0, 100);
    CHECK(apply(Atomic::add, 7u, naturals).result == std::accumulate(naturals.begin(), naturals.end(), 7u));
    CHECK(apply(Atomic::sub, 7u, naturals).result == 7u - std::accumulate(naturals.begin(), naturals.end(), 0u));
    auto floats = random_values<float>(500, -100, 100);
    CHECK(apply(Atomic::add, 0.5f, floats).result == std::accumulate(floats.begin(), floats.end(), 0.5f));
}

TEST_CASE("atomic exchange hands each value to one thread") {
    std::vector<int> values(300);
    std::iota(values.begin(), values.end(), 1);
    AtomicRun<int> run = apply(Atomic::exch, 0, values);
    std::vector<int> seen = run.old;
    seen.push_back(run.result);
    values.push_back(0);
    CHECK(sorted(seen) == sorted(values));
    AtomicRun<float> single = apply(Atomic::exch, 1.5f, std::vector<float>{2.5f});
    CHECK(single.result == 2.5f);
    CHECK(single.old[0] == 1.5f);
}

TEST_CASE("atomic minimum and maximum, signed and unsigned") {
    auto values = random_values<int>(300, -100000, 100000);
    CHECK(apply(Atomic::min, 3, values).result == std::min(3, *std::min_element(values.begin(), values.end())));
    CHECK(apply(Atomic::max, 3, values).result == std::max(3, *std::max_element(values.begin(), values.end())));
    std::vector<unsigned> large = {5, 0x80000001u, 0xfffffff0u, 17};
    CHECK(apply(Atomic::min, 100u, large).result == 5);
    CHECK(apply(Atomic::max, 100u, large).result == 0xfffffff0u);
}

TEST_CASE("atomic operations on bits") {
    std::mt19937 engine(4);
    std::vector<unsigned> values(100);
    for (unsigned& value : values) value = engine() | engine();
    unsigned all = 0xffff0fffu, some = 1, odd = 0x1234u;
    for (unsigned value : values) all &= value, some |= value >> 20, odd ^= value;
    CHECK(apply(Atomic::bit_and, 0xffff0fffu, values).result == all);
    CHECK(apply(Atomic::bit_xor, 0x1234u, values).result == odd);
    for (unsigned& value : values) value >>= 20;
    CHECK(apply(Atomic::bit_or, 1u, values).result == some);
    CHECK(apply(Atomic::bit_and, -1, std::vector<int>{-2, -5}).result == -6);
    CHECK(apply(Atomic::bit_or, 1, std::vector<int>{2, 4}).result == 7);
    CHECK(apply(Atomic::bit_xor, 1, std::vector<int>{3, 4}).result == 6);
}

TEST_CASE("atomicInc and atomicDec wrap around") {
    for (unsigned start : {0u, 3u, 9u}) {
        unsigned up = start, down = start;
        for (int i = 0; i < 100; ++i) {
            up = up >= 6 ? 0 : up + 1;
            down = down == 0 || down > 6 ? 6 : down - 1;
        }
        CHECK(apply(Atomic::inc, start, std::vector<unsigned>(100, 6)).result == up);
        CHECK(apply(Atomic::dec, start, std::vector<unsigned>(100, 6)).result == down);
    }
}

TEST_CASE("a maximum of floats made of compare and swap") {
    auto values = random_values<float>(500, 1, 1000000);
    CHECK(maximum_with_compare_and_swap(values) == *std::max_element(values.begin(), values.end()));
}

TEST_CASE("atomic operations on shared memory") {
    auto values = random_values<int>(5000, 0, 39);
    std::vector<int> expected(40);
    for (int value : values) ++expected[value];
    CHECK(histogram_in_shared(values, 40) == expected);
}

TEST_CASE("constant memory and variables of the device") {
    std::vector<float> x = {-2, 0, 0.5f, 3};
    std::vector<float> expected;
    for (float value : x) expected.push_back(1 + 2 * value - 3 * value * value + 4 * value * value * value);
    CHECK(polynomial_from_constant({1, 2, -3, 4}, x) == expected);  // exact: halves and small integers

    std::vector<int> start = {10, 20, 30, 40, 50, 60, 70, 80}, counted;
    for (int i = 0; i < 8; ++i) counted.push_back(start[i] + 3 * (i + 1));
    CHECK(count_in_device_variable(start, 3) == counted);
}

TEST_CASE("loads and stores of two and four elements") {
    auto in = random_values<float>(64, -1000, 1000);
    std::vector<float> scaled;
    for (float value : in) scaled.push_back(value * 0.5f);
    CHECK(scale_pairs(in, 0.5f) == scaled);
    CHECK(scale_quadruples(in, 0.5f) == scaled);
    auto naturals = random_values<unsigned>(32, 0, 100000);
    std::vector<unsigned> complements;
    for (unsigned value : naturals) complements.push_back(~value);
    CHECK(complement_quadruples(naturals) == complements);
}

TEST_CASE("cudaMemset sets bytes; a copy can stay on the device") {
    CHECK(memset_then_copy_on_device(10, 0) == std::vector<int>(10, 0));
    CHECK(memset_then_copy_on_device(10, 0x5a) == std::vector<int>(10, 0x5a5a5a5a));
    CHECK(memset_then_copy_on_device(1, 0xff) == std::vector<int>(1, -1));
}

TEST_CASE("streams and events keep the order") {
    auto in = random_values<int>(100, -1000, 1000);
    StreamRun run = double_in_stream(in);
    for (int& value : in) value *= 2;
    CHECK(run.doubled == in);
    CHECK(run.milliseconds >= 0);
}

TEST_CASE("a struct as argument of a kernel is copied") {
    Parameters parameters{0.5f, 100, {1, 2, 3, 4, 5}};
    std::vector<float> in = random_values<float>(20, -100, 100), expected;
    for (int i = 0; i < 20; ++i) expected.push_back(in[i] * 0.5f + static_cast<float>(100 + parameters.weights[i % 5]));
    CHECK(apply_parameters(in, parameters) == expected);
}

// ---- arithmetic ----------------------------------------------------------------------------------------------------

TEST_CASE("fast arithmetic stays within the errors that the guide states") {
    std::vector<float> wide, positive, near_one, angles;
    for (int i = 0; i < 256; ++i) {
        auto part = static_cast<float>(i) / 255;
        wide.push_back(-8 + 16 * part);
        positive.push_back(std::ldexp(1 + part, i % 40 - 20));
        near_one.push_back(0.5f + 1.5f * part);
        angles.push_back(3.14159f * (2 * part - 1));
    }
    using Exact = double (*)(double);
    auto worst = [](Fast function, const std::vector<float>& x, Exact exact, auto tolerance) {
        std::vector<float> got = fast(function, x);
        for (std::size_t i = 0; i < x.size(); ++i) {
            double expected = exact(x[i]);
            CAPTURE(static_cast<int>(function), x[i], got[i], expected);
            REQUIRE(std::fabs(got[i] - expected) <= tolerance(x[i], expected));
        }
    };
    auto ulps = [](double count) { return [count](double, double exact) { return count * ulp(exact); }; };
    auto absolute = [](double exponent) { return [exponent](double, double) { return std::exp2(exponent); }; };
    Exact log = [](double x) { return std::log(x); }, log2 = [](double x) { return std::log2(x); },
          log10 = [](double x) { return std::log10(x); };

    worst(
        Fast::exp, wide, [](double x) { return std::exp(x); },
        [](double x, double exact) { return (2 + std::floor(std::fabs(1.173 * x))) * ulp(exact); });
    worst(
        Fast::exp10, wide, [](double x) { return std::pow(10.0, x); },
        [](double x, double exact) { return (2 + std::floor(std::fabs(2.97 * x))) * ulp(exact); });
    worst(Fast::log, near_one, log, absolute(-21.41));
    worst(Fast::log2, near_one, log2, absolute(-22));
    worst(Fast::log10, near_one, log10, absolute(-24));
    positive.erase(std::remove_if(positive.begin(), positive.end(), [](float x) { return x >= 0.5f && x <= 2; }),
                   positive.end());
    worst(Fast::log, positive, log, ulps(3));
    worst(Fast::log2, positive, log2, ulps(2));
    worst(Fast::log10, positive, log10, ulps(3));
    worst(
        Fast::sin, angles, [](double x) { return std::sin(x); }, absolute(-21.41));
    worst(
        Fast::cos, angles, [](double x) { return std::cos(x); }, absolute(-21.19));
    worst(
        Fast::reciprocal_root, positive, [](double x) { return 1 / std::sqrt(x); }, ulps(2));
    worst(
        Fast::root, positive, [](double x) { return std::sqrt(x); }, ulps(0.5));
    worst(
        Fast::reciprocal, positive, [](double x) { return 1 / x; }, ulps(0.5));
    worst(
        Fast::saturate, wide, [](double x) { return std::clamp(x, 0.0, 1.0); }, absolute(-1000));

    std::vector<float> quotients = fast_divide(wide, near_one);
    for (int i = 0; i < 256; ++i) {
        double exact = double{wide[i]} / double{near_one[i]};
        REQUIRE(std::fabs(quotients[i] - exact) <= 2 * ulp(exact));
    }
    CHECK(fast(Fast::saturate, {std::numeric_limits<float>::quiet_NaN()})[0] == 0);
}

TEST_CASE("__fmaf_rn rounds once") {
    std::vector<float> x = {1 + 0x1p-23f, 3, 0x1p-100f}, y = {1 - 0x1p-23f, 5, 0x1p-40f}, z = {-1, 7, 1};
    std::vector<float> got = fused_multiply_add(x, y, z);
    CHECK(got[0] == -0x1p-46f);  // 0 if the product were rounded first
    CHECK(got[1] == 22);
    CHECK(got[2] == 1);
}

TEST_CASE("16-bit numbers in kernels") {
    std::vector<float> x = {1, 2.5f, -3, 0.1f, 2049, 1000}, y = {2, 4, 0.5f, 3, 1, 100}, z = {0, 1, 100, 0.7f, 0, 0};
    std::vector<float> half = half_multiply_add(x, y, z), bfloat = bfloat16_multiply_add(x, y, z);
    for (std::size_t i = 0; i < x.size(); ++i) {
        CAPTURE(i);
        auto expected = [&]<class T>(T) {
            double exact = double{float(T(x[i]))} * double{float(T(y[i]))} + double{float(T(z[i]))};
            return float(T(static_cast<float>(exact)));  // exact fits a float here
        };
        CHECK(half[i] == expected(attn::float16{}));
        CHECK(bfloat[i] == expected(attn::bfloat16{}));
    }
    CHECK(half[4] == 2048);      // ties to even
    CHECK(std::isinf(half[5]));  // 100000 is too large
    CHECK(bfloat[5] == 99840);
}

TEST_CASE("bits of an integer") {
    std::vector<unsigned> in = {0, 1, 0x80000000u, 0xffffffffu, 0x00012300u};
    std::mt19937 engine(5);
    for (int i = 0; i < 27; ++i) in.push_back(engine() >> (i % 8));
    std::vector<Bits> got = bits(in);
    for (std::size_t i = 0; i < in.size(); ++i) {
        int ones = 0, leading_zeros = 32, first_set = 0;
        unsigned reversed = 0;
        for (int bit = 0; bit < 32; ++bit) {
            if (!(in[i] >> bit & 1)) continue;
            ++ones;
            leading_zeros = 31 - bit;
            if (first_set == 0) first_set = bit + 1;
            reversed |= 1u << (31 - bit);
        }
        CAPTURE(in[i]);
        CHECK(got[i].ones == ones);
        CHECK(got[i].leading_zeros == leading_zeros);
        CHECK(got[i].first_set == first_set);
        CHECK(got[i].reversed == reversed);
    }
}

TEST_CASE("conversion to integers in the four directions") {
    std::vector<float> in = {0.5f, 1.5f, -0.5f, -1.5f, 2.4f, 2.6f, -2.6f, 7};
    auto got = round_to_int(in);
    CHECK(got == std::vector<std::array<int, 4>>{{0, 0, 0, 1},
                                                 {2, 1, 1, 2},
                                                 {0, 0, -1, 0},
                                                 {-2, -1, -2, -1},
                                                 {2, 2, 2, 3},
                                                 {3, 2, 2, 3},
                                                 {-3, -2, -3, -2},
                                                 {7, 7, 7, 7}});
}
