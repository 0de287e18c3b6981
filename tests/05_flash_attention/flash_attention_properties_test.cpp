// What must hold of FlashAttention whatever the sizes and the tiles, on generated problems. Beside each property stands
// the wrong answer that it kills.
#include <fmt/format.h>

#include <cstring>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/05_flash_attention/flash_attention_naive.hpp"
#include "common/measure/counted.hpp"
#include "common/measure/memory_tracker.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::flash_attention;
using testing::error;
using testing::relative_error;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// A problem that owns its tensors, in T.
template <class T>
struct Problem {
    Sizes size;
    Options options;
    Tensor<T, 4> q, k, v, d_out, out, d_q, d_k, d_v;
    Tensor<T, 3> log_sum_exp;

    Problem(Sizes sizes, Options with, std::uint64_t seed) : size(sizes), options(with) {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D});
        k = make_tensor<T, 4>({size.B, size.G, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.G, size.Nk, size.Dv});
        d_out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv});
        fill_normal(view(q), seed), fill_normal(view(k), seed + 1), fill_normal(view(v), seed + 2);
        fill_normal(view(d_out), seed + 3);
        clear();
    }
    void clear() {
        const T poison = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 4>(view(d_out).shape(), poison);
        log_sum_exp = make_tensor<T, 3>({size.B, size.H, size.Nq}, poison);
        d_q = make_tensor<T, 4>(view(q).shape(), poison), d_k = make_tensor<T, 4>(view(k).shape(), poison);
        d_v = make_tensor<T, 4>(view(v).shape(), poison);
    }
    Inputs<T> inputs(bool backward = true) const {
        return {view(q), view(k), view(v), backward ? view(d_out) : TensorView<const T, 4>{}};
    }
    Outputs<T> outputs() { return {view(out), view(log_sum_exp), view(d_q), view(d_k), view(d_v)}; }

    // The same problem, solved by dense attention.
    Problem dense() const {
        Problem other = *this;
        other.clear();
        dense::naive(other.inputs(), dense::Options{options.causal, options.scale}, other.outputs());
        return other;
    }
    Problem flash(const Tiles& tiles) const {
        Problem other = *this;
        other.clear();
        naive(other.inputs(), options, other.outputs(), tiles);
        return other;
    }
    // Forward only: gradients stay NaN.
    Problem flash1(const Tiles& tiles) const {
        Problem other = *this;
        other.clear();
        naive_forward_flash1(other.inputs(), options, other.outputs(), tiles);
        return other;
    }
    Problem flash2(const Tiles& tiles) const {
        Problem other = *this;
        other.clear();
        naive_forward(other.inputs(), options, other.outputs(), tiles);
        return other;
    }
    Problem split(int part_keys, const Tiles& tiles) const {
        Problem other = *this;
        other.clear();
        naive_forward_split(other.inputs(), options, other.outputs(), part_keys, tiles);
        return other;
    }
};

template <class To, class From>
Problem<To> converted(const Problem<From>& problem) {
    Problem<To> other(problem.size, problem.options, 0);
    std::copy(problem.q.begin(), problem.q.end(), other.q.begin());
    std::copy(problem.k.begin(), problem.k.end(), other.k.begin());
    std::copy(problem.v.begin(), problem.v.end(), other.v.begin());
    std::copy(problem.d_out.begin(), problem.d_out.end(), other.d_out.begin());
    return other;
}

// Ragged sizes, from the seed: D ≠ Dv, more queries than keys and the other way round, heads that share.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    const int G = pick(0, 1, 2);
    return {pick(1, 1, 2), G * pick(2, 1, 3), G, pick(3, 1, 70), pick(4, 2, 150), pick(5, 1, 9), pick(6, 1, 9)};
}
Options generated_options(std::uint64_t seed) { return {seed % 2 == 0, seed % 3 == 0 ? 3.0 : 0.4}; }

// Tiles of 1, small ones that divide nothing, powers of two, and some that hold more than there is.
Tiles generated_tiles(std::uint64_t seed) {
    constexpr int widths[] = {1, 2, 3, 5, 7, 16, 32, 64, 100, 128, 200};
    return {widths[random_integer(seed, 100, 0, 10)], widths[random_integer(seed, 101, 0, 10)]};
}

std::string text(const Sizes& s, const Tiles& tiles, std::uint64_t seed) {
    return fmt::format("seed {}: B{} H{} G{} Nq{} Nk{} D{} Dv{}, tiles of {} x {}", seed, s.B, s.H, s.G, s.Nq, s.Nk,
                       s.D, s.Dv, tiles.Br, tiles.Bc);
}

// Elements of which not all bits are the same.
template <class T, std::size_t N>
int different(const xt::xtensor<T, N>& a, const xt::xtensor<T, N>& b) {
    int count = 0;
    for (std::size_t index = 0; index < a.size(); ++index)
        count += std::memcmp(a.data() + index, b.data() + index, sizeof(T)) != 0;
    return count;
}

// Positions first … first + count - 1 of every head.
template <class T>
Tensor<T, 4> positions(const Tensor<T, 4>& tensor, int first, int count) {
    return xt::view(tensor, xt::all(), xt::all(), xt::range(first, first + count), xt::all());
}

}  // namespace

TEST_CASE("flash: equals dense attention, whatever the sizes and the tiles") {
    // Kills: a last tile forgotten, a state not cleared between query tiles, O or l not rescaled, key tiles skipped by
    // the first row of a query tile, kv head h % G, a top-left mask, dK and dV of the last head of a group alone.
    for (std::uint64_t seed = 1; seed <= 80; ++seed) {
        Sizes size = generated_sizes(seed);
        Tiles tiles = generated_tiles(seed);
        if (seed % 8 == 0) tiles.Br = size.Nq + 1, tiles.Bc = size.Nk;
        if (seed % 8 == 1) tiles.Br = size.Nq, tiles.Bc = size.Nk - 1;
        const Problem<double> problem(size, generated_options(seed), 10 * seed);
        const Problem<double> dense = problem.dense(), flash = problem.flash(tiles);
        INFO(text(size, tiles, seed));
        CHECK(error(flash.out, dense.out) <= 1e-12);
        CHECK(error(flash.log_sum_exp, dense.log_sum_exp) <= 1e-12);
        CHECK(error(flash.d_q, dense.d_q) <= 1e-12);
        CHECK(error(flash.d_k, dense.d_k) <= 1e-12);
        CHECK(error(flash.d_v, dense.d_v) <= 1e-12);
    }
}

TEST_CASE("flash: both loop orders agree, but not in every bit") {
    // Kills: out multiplied by l or divided by it once too often, or a maximum of the tile in the place of the joint
    // one.
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const Tiles tiles = generated_tiles(seed);
        const Problem<double> problem(generated_sizes(seed), generated_options(seed), 10 * seed);
        const Problem<double> outer_keys = problem.flash1(tiles), outer_queries = problem.flash2(tiles);
        INFO(text(problem.size, tiles, seed));
        CHECK(error(outer_keys.out, outer_queries.out) <= 1e-12);
        CHECK(error(outer_keys.log_sum_exp, outer_queries.log_sum_exp) <= 1e-12);
    }
    // With one key tile there is one division, and they are the same. With more, they round differently.
    const Problem<float> problem({1, 2, 2, 64, 256, 16, 16}, {false, 0.25}, 1);
    for (int Bc : {256, 128, 64, 16}) {
        const int bits = different(problem.flash1({64, Bc}).out, problem.flash2({64, Bc}).out);
        const int all = static_cast<int>(problem.out.size());
        fmt::print("loop orders, {:2} key tiles: {} of {} floats of out differ\n", 256 / Bc, bits, all);
        if (Bc == 256)
            CHECK(bits == 0);
        else
            CHECK(bits > all / 10);
    }
}

TEST_CASE("flash: partial results merge in any order and any bracketing") {
    // Kills: means averaged without their l, sums added without a common maximum, -inf - -inf for two empty parts.
    constexpr int Nk = 90, Dv = 3;
    const Options options{false, 2};
    const Problem<double> problem({1, 1, 1, 4, Nk, 5, Dv}, options, 3);
    Problem<double> with_infinities = problem;
    for (int j = 30; j < 50; ++j)  // keys that no query gives any weight, a whole part of them
        for (int d = 0; d < 5; ++d) with_infinities.k(0, 0, j, d) = d == 0 ? -infinity : 0;
    for (int i = 0; i < 4; ++i) with_infinities.q(0, 0, i, 0) = 1 + i;

    for (const Problem<double>& p : {problem, with_infinities}) {
        const Problem<double> dense = p.dense();
        auto state_of = [&](int first, int count) {
            Workspace<double> work(p.size, {4, 8});
            for_each_tile(count, 8, [&](Range keys) {
                add_tile(p.inputs(), options, {0, 0}, {0, 4}, {first + keys.first, keys.count}, work, NobodyWatches{});
            });
            return work.state;
        };
        auto merged = [](State<double> a, const State<double>& b) {
            merge(a, b);
            return a;
        };
        auto same = [](const State<double>& a, const State<double>& b) {
            return a.m == b.m && a.l == b.l && a.O == b.O;
        };
        auto distance = [&](const State<double>& state) {
            Problem<double> result = p;
            finish(p.inputs(), options, {0, 0}, {0, 4}, state, result.outputs());
            return std::max(error(result.out, dense.out), error(result.log_sum_exp, dense.log_sum_exp));
        };
        const State<double> nothing(4, Dv), a = state_of(0, 30), b = state_of(30, 20), c = state_of(50, 40);
        for (const State<double>& state : {a, b, c, nothing}) {
            CHECK(same(merged(state, nothing), state));
            CHECK(same(merged(nothing, state), state));
        }
        CHECK(same(merged(a, b), merged(b, a)));
        CHECK(same(merged(b, c), merged(c, b)));
        CHECK(distance(merged(merged(a, b), c)) <= 1e-14);
        CHECK(distance(merged(a, merged(b, c))) <= 1e-14);
        CHECK(distance(merged(c, merged(a, b))) <= 1e-14);
        CHECK(distance(merged(a, c)) > (&p == &problem ? 0.1 : -1));  // without b it is another answer

        // Cut anywhere, and again, until little is left; some cuts leave a part empty.
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            std::uint64_t cuts = 0;
            auto cut = [&](auto& self, int first, int count) -> State<double> {
                if (count <= 2) return count == 0 ? nothing : state_of(first, count);
                const int left = random_integer(seed, cuts++, 0, count - 1);
                return merged(self(self, first, left), self(self, first + left, count - left));
            };
            CHECK(distance(cut(cut, 0, Nk)) <= 1e-13);
        }
    }
}

TEST_CASE("flash: keys in parts, merged, give the same; in one part, the same bits") {
    // Kills: parts weighted alike, a last part forgotten, tiles that reach into the next part.
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const Tiles tiles = generated_tiles(seed);
        const Problem<double> problem(generated_sizes(seed), generated_options(seed), 10 * seed);
        const Problem<double> whole = problem.flash2(tiles);
        for (int part_keys : {1, 3, tiles.Bc, 2 * tiles.Bc + 1, problem.size.Nk, 1000}) {
            const Problem<double> split = problem.split(part_keys, tiles);
            INFO(text(problem.size, tiles, seed) << ", parts of " << part_keys);
            CHECK(error(split.out, whole.out) <= 1e-12);
            CHECK(error(split.log_sum_exp, whole.log_sum_exp) <= 1e-12);
            if (part_keys >= problem.size.Nk) CHECK((split.out == whole.out && split.log_sum_exp == whole.log_sum_exp));
        }
    }
}

TEST_CASE("flash: prefill, in chunks, and token by token have the same bits") {
    // Kills: key tiles that begin at the diagonal or end at the last key, a number of parts in the place of their
    // length: then the order of sums of a row depends on what is computed with it.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const int N = random_integer(seed, 0, 2, 140);
        const Tiles tiles = generated_tiles(seed);
        const int part_keys = random_integer(seed, 1, 1, 60);
        const Problem<float> whole({1, 2, 1, N, N, 5, 3}, {true, 0.7}, seed);
        const Problem<float> prefill = whole.flash2(tiles), split_prefill = whole.split(part_keys, tiles),
                             prefill1 = whole.flash1(tiles);
        for (int chunk : {1, 2, 17, 64}) {
            for (int first = 0; first < N; first += chunk) {
                const int count = std::min(chunk, N - first);
                Problem<float> part({1, 2, 1, count, first + count, 5, 3}, {true, 0.7}, 0);
                part.q = positions(whole.q, first, count);
                part.k = positions(whole.k, 0, first + count), part.v = positions(whole.v, 0, first + count);
                INFO(text(whole.size, tiles, seed) << ", " << count << " queries from " << first);
                const Tiles other_rows{random_integer(seed, 2, 1, 90), tiles.Bc};
                REQUIRE(different(part.flash2(other_rows).out, positions(prefill.out, first, count)) == 0);
                REQUIRE(different(part.flash1(other_rows).out, positions(prefill1.out, first, count)) == 0);
                REQUIRE(different(part.split(part_keys, other_rows).out, positions(split_prefill.out, first, count)) ==
                        0);
                const Tensor<float, 3> expected =
                    xt::view(prefill.log_sum_exp, xt::all(), xt::all(), xt::range(first, first + count));
                REQUIRE(different(part.flash2(other_rows).log_sum_exp, expected) == 0);
            }
        }
    }
}

TEST_CASE("flash: gradients are those of finite differences") {
    // Kills: a factor scale forgotten or taken twice, dO · O left out, the weights of one tile relative to its own sum.
    const Tiles tiles{2, 3};
    const Problem<double> problem({1, 2, 1, 5, 8, 3, 4}, {true, 0.6}, 5), solved = problem.flash(tiles);
    auto loss = [&](const Problem<double>& changed) { return xt::sum(changed.flash2(tiles).out * changed.d_out)(); };
    constexpr double h = 1e-6;
    auto check = [&](Tensor<double, 4> Problem<double>::*tensor, const Tensor<double, 4>& gradient) {
        for (std::size_t index = 0; index < gradient.size(); ++index) {
            Problem<double> up = problem, down = problem;
            (up.*tensor).data()[index] += h, (down.*tensor).data()[index] -= h;
            REQUIRE(std::abs((loss(up) - loss(down)) / (2 * h) - gradient.data()[index]) <= 1e-8);
        }
    };
    check(&Problem<double>::q, solved.d_q);
    check(&Problem<double>::k, solved.d_k);
    check(&Problem<double>::v, solved.d_v);
}

TEST_CASE("flash: weights sum to 1, keys may shift and change places") {
    // Kills: a sum l over other keys than O; a backward pass whose rows of dS do not sum to 0.
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Sizes size = generated_sizes(seed);
        size.Nq = std::min(size.Nq, size.Nk);  // every row sees a key
        const Tiles tiles = generated_tiles(seed);
        const Problem<double> problem(size, {seed % 2 == 0, 0.5}, seed), plain = problem.flash(tiles);
        INFO(text(size, tiles, seed));

        Problem<double> constant = problem;
        constant.v.fill(2.5);
        for (double value : constant.flash2(tiles).out) REQUIRE(std::abs(value - 2.5) <= 1e-13);
        Problem<double> doubled = problem;
        doubled.v *= 2.0;
        const Tensor<double, 4> twice = 2.0 * plain.out;
        CHECK(different(doubled.flash2(tiles).out, twice) == 0);  // a power of 2 is exact

        // Adding one vector to all keys adds one number to all scores of a row. So the gradients of the keys, summed up
        // with those of all queries that share them, are 0; and Euler: q and k scale the scores alike.
        Problem<double> shifted = problem;
        for (int d = 0; d < size.D; ++d) xt::view(shifted.k, xt::all(), xt::all(), xt::all(), d) += 0.3 * d - 1;
        CHECK(error(shifted.flash2(tiles).out, plain.out) <= 1e-12);
        xt::xarray<double> sums = xt::sum(plain.d_k, 2);
        for (double value : sums) CHECK(std::abs(value) <= 1e-11);
        CHECK(xt::sum(plain.d_q * plain.q)() == Approx(xt::sum(plain.d_k * plain.k)()).margin(1e-10));
        CHECK(xt::sum(plain.d_v * plain.v)() == Approx(xt::sum(plain.d_out * plain.out)()));

        if (!problem.options.causal) {
            Problem<double> reversed = problem;
            reversed.k = xt::flip(problem.k, 2), reversed.v = xt::flip(problem.v, 2);
            CHECK(error(reversed.flash2(tiles).out, plain.out) <= 1e-12);
        }
    }
}

TEST_CASE("flash: NaN and infinities stand where dense attention has them") {
    // Kills: 0 · NaN from a tile multiplied as a whole, a NaN that a later maximum drops, -inf - -inf of a tile without
    // any finite score, rows that see no key and get what is left of the tile.
    int not_finite = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const Tiles tiles = generated_tiles(seed);
        Problem<double> problem(generated_sizes(seed), {seed % 2 == 0, 0.4}, 10 * seed);
        auto put = [&](std::uint64_t what, Tensor<double, 4>& tensor, double value) {
            tensor.data()[random_integer(seed, what, 0, static_cast<int>(tensor.size()) - 1)] = value;
        };
        if (seed % 5 == 0) put(50, problem.q, std::nan(""));
        if (seed % 5 == 1) put(51, problem.k, std::nan(""));
        if (seed % 5 == 2) put(52, problem.v, seed % 2 == 0 ? infinity : std::nan(""));
        if (seed % 5 == 3) put(53, problem.d_out, std::nan(""));
        if (seed % 5 == 4 || seed % 3 == 0)  // scores of inf and of -inf, several in a row
            for (std::uint64_t key = 0; key < 5; ++key) put(54 + key, problem.k, key % 2 == 0 ? infinity : -infinity);
        Problem<double> dense = problem.dense();
        const Problem<double> flash = problem.flash(tiles);
        INFO(text(problem.size, tiles, seed));
        for (double value : dense.out) not_finite += !std::isfinite(value);
        CHECK(error(flash.out, dense.out) <= 1e-12);
        CHECK(error(flash.d_q, dense.d_q) <= 1e-12);
        CHECK(error(flash.d_k, dense.d_k) <= 1e-12);
        CHECK(error(flash.d_v, dense.d_v) <= 1e-12);
        // A row that sees scores of -inf only: log 0 is -inf here, dense attention takes it of NaN. Out is NaN in both.
        for (int row = 0; row < static_cast<int>(dense.log_sum_exp.size()); ++row)
            if (std::isnan(dense.log_sum_exp.data()[row]) && flash.log_sum_exp.data()[row] == -infinity) {
                REQUIRE(std::isnan(flash.out.data()[row * problem.size.Dv]));
                dense.log_sum_exp.data()[row] = -infinity;
            }
        CHECK(error(flash.log_sum_exp, dense.log_sum_exp) <= 1e-12);
    }
    CHECK(not_finite > 1000);
}

TEST_CASE("flash: rows that see no key give 0, -inf and no gradient, and spoil none") {
    // Kills: 0 / 0, a maximum of -inf subtracted, NaN of a row that nobody looks at.
    for (const Tiles& tiles : {Tiles{64, 64}, Tiles{4, 3}, Tiles{1, 1}, Tiles{5, 4}}) {
        const Problem<double> clean({1, 2, 1, 9, 4, 3, 2}, {true, 1}, 19);
        Problem<double> poisoned = clean;
        for (int h = 0; h < 2; ++h)
            for (int i = 0; i < 5; ++i) {
                for (int d = 0; d < 3; ++d) poisoned.q(0, h, i, d) = i == 2 ? infinity : std::nan("");
                for (int d = 0; d < 2; ++d) poisoned.d_out(0, h, i, d) = std::nan("");
            }
        const Problem<double> expected = clean.flash(tiles), solved = poisoned.flash(tiles);
        for (const Problem<double>& p : {expected, solved, poisoned.flash1(tiles), poisoned.split(3, tiles)})
            for (int h = 0; h < 2; ++h)
                for (int i = 0; i < 9; ++i) {
                    CHECK((p.log_sum_exp(0, h, i) == -infinity) == (i < 5));
                    for (int d = 0; d < 2; ++d) CHECK((p.out(0, h, i, d) == 0) == (i < 5));
                }
        CHECK(different(solved.d_q, expected.d_q) == 0);
        CHECK(different(solved.d_k, expected.d_k) == 0);
        CHECK(different(solved.d_v, expected.d_v) == 0);
        for (int d = 0; d < 3; ++d) CHECK(solved.d_q(0, 1, 4, d) == 0);
        CHECK(std::isfinite(xt::sum(solved.d_q)() + xt::sum(solved.d_k)() + xt::sum(solved.d_v)()));
    }
}

// ---- "bit-for-bit identical" ----------------------------------------------------------------------------------------

TEST_CASE("flash: the same bits as dense attention where nothing is rounded") {
    // Kills: "the bits differ because it is an approximation". The order of sums is all that differs.
    const auto check = [](const Problem<float>& problem, const char* what) {
        const Problem<float> dense = problem.dense();
        REQUIRE(xt::amax(xt::abs(dense.out))() > 0.5f);
        for (int Bc : {1, 7, 16, 32, 64, 200}) {
            INFO(what << ", key tiles of " << Bc);
            CHECK(different(problem.flash2({16, Bc}).out, dense.out) == 0);
            CHECK(different(problem.split(24, {16, Bc}).out, dense.out) == 0);
        }
        // FlashAttention-1 may round all the same: it divides after each tile, by sums that are no powers of two on the
        // way, and multiplies by them again. In float, 1/41 · 41 is not 1.
        const int bits = different(problem.flash1({16, 1}).out, dense.out);
        fmt::print(
            "{}: all bits of FlashAttention-2 are those of dense attention; of FlashAttention-1, {} of {} floats"
            " differ\n",
            what, bits, dense.out.size());
        return bits;
    };
    // Equal scores, integer values, 64 keys: the mean.
    Problem<float> means({1, 2, 1, 20, 64, 3, 5}, {false, 1}, 1);
    means.q.fill(0);
    for (float& value : means.v) value = std::round(1000 * value);
    CHECK(check(means, "equal scores") > 0);

    // Weights 1/4, 1/2 and 1, as the scores are -2 log 2, -log 2 and 0: 32/4 + 16/2 + 16 is 32. The largest come last,
    // and earlier sums shrink by 1/2, and by 1/2 again.
    Problem<float> powers({1, 1, 1, 20, 64, 1, 5}, {false, 1}, 2);
    const float log2 = std::log(2.0f);
    REQUIRE(std::exp(-log2) == 0.5f);
    REQUIRE(std::exp(-2 * log2) == 0.25f);
    powers.q.fill(1);
    for (int j = 0; j < 64; ++j) powers.k(0, 0, j, 0) = j < 32 ? -2 * log2 : j < 48 ? -log2 : 0;
    for (float& value : powers.v) value = std::round(1000 * value);
    check(powers, "weights that are powers of two");

    // Weights 0 and 1/2^c: query i looks at 2^c keys, all others are farther away than any float can tell.
    Problem<float> few({1, 1, 1, 7, 64, 7, 5}, {false, 1}, 3);
    few.q.fill(0), few.k.fill(-1000);
    for (int i = 0; i < 7; ++i) {
        few.q(0, 0, i, i) = 1;
        for (int j = 0; j < 1 << i; ++j) few.k(0, 0, 63 - j * (64 >> i), i) = 0;
    }
    for (float& value : few.v) value = std::round(8 * value);
    check(few, "weights 0 and 1/n");
}

TEST_CASE("flash: one tile has the bits of a softmax that divides last") {
    // Kills: another order of sums inside a tile. That, and not the tiles, is what is left between the two then.
    const Problem<float> problem({1, 1, 1, 30, 90, 16, 8}, {true, 0.25}, 4);
    Problem<float> expected = problem;
    for (int i = 0; i < 30; ++i) {
        const int visible = problem.size.visible_keys(i, true);
        std::vector<float> scores;
        for (int j = 0; j < visible; ++j) {
            float dot = 0;
            for (int d = 0; d < 16; ++d) dot += problem.q(0, 0, i, d) * problem.k(0, 0, j, d);
            scores.push_back(0.25f * dot);
        }
        const float maximum = *std::max_element(scores.begin(), scores.end());
        float sum = 0;
        for (float& score : scores) sum += score = std::exp(score - maximum);
        for (int d = 0; d < 8; ++d) {
            float weighted = 0;
            for (int j = 0; j < visible; ++j) weighted += scores[static_cast<std::size_t>(j)] * problem.v(0, 0, j, d);
            expected.out(0, 0, i, d) = weighted / sum;
        }
    }
    CHECK(different(problem.flash2({7, 90}).out, expected.out) == 0);
    CHECK(different(problem.flash1({7, 90}).out, expected.out) == 0);
    CHECK(different(problem.flash2({7, 32}).out, expected.out) > 0);
}

TEST_CASE("flash: elsewhere the last bits differ, and the errors have the same size") {
    // Kills: "bit for bit", and its opposite, "less accurate": both versions are held against double.
    for (bool causal : {false, true}) {
        const Problem<float> problem({1, 2, 2, 256, 256, 64, 64}, {causal, 0.125}, 6);
        const Problem<double> exact = converted<double>(problem).dense();
        const Problem<float> dense = problem.dense();
        const double dense_error = relative_error(view(dense.out), view(exact.out));
        fmt::print("{}, N = 256, D = 64, float against double:\n  dense attention   relative error {:.2e}\n",
                   causal ? "causal" : "all keys", dense_error);
        for (int Bc : {16, 64, 256}) {
            const Problem<float> flash = problem.flash2({64, Bc}), flash1 = problem.flash1({64, Bc});
            const double flash_error = relative_error(view(flash.out), view(exact.out));
            const double flash1_error = relative_error(view(flash1.out), view(exact.out));
            const double all = static_cast<double>(flash.out.size());
            const double same = 1 - different(flash.out, dense.out) / all;
            fmt::print(
                "  key tiles of {:3}  relative error {:.2e}, {:.1f} % of the bits of dense attention;"
                " FlashAttention-1 {:.2e}, {:.1f} %\n",
                Bc, flash_error, 100 * same, flash1_error, 100 - 100 * different(flash1.out, dense.out) / all);
            CHECK(same > 0.02);
            CHECK(same < 0.5);
            CHECK(flash_error <= 1.5 * dense_error);
            CHECK(flash1_error <= 3 * dense_error);
            CHECK(flash_error >= dense_error / 3);
        }
    }
}

// ---- costs ----------------------------------------------------------------------------------------------------------

TEST_CASE("flash: costs by formula equal the counts in both loop orders") {
    // Kills: a wrong formula, and a naive version that does more than it says: masked pairs computed, key tiles that no
    // row sees visited, rows rescaled that see nothing of a tile, a division for each weight or each tile.
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const Tiles tiles = generated_tiles(seed);
        Problem<Counted> problem(generated_sizes(seed), generated_options(seed), 1);
        const Inputs<Counted> inputs = problem.inputs(false);
        const Outputs<Counted> outputs = problem.outputs();
        INFO(text(problem.size, tiles, seed));
        for (LoopOrder order : {LoopOrder::query_tiles_outside, LoopOrder::key_tiles_outside}) {
            counted_costs = {};
            MemoryTracker memory;
            if (order == LoopOrder::query_tiles_outside)
                naive_forward(inputs, problem.options, outputs, tiles);
            else
                naive_forward_flash1(inputs, problem.options, outputs, tiles);
            Costs counted = counted_costs;
            counted.bytes_held = memory.peak_bytes_held();
            const Costs predicted = forward_cost(problem.size, problem.options, sizeof(Counted), tiles, order);
            CHECK(counted.multiply_adds == predicted.multiply_adds);
            CHECK(counted.multiplications == predicted.multiplications);
            CHECK(counted.additions == predicted.additions);
            CHECK(counted.divisions == predicted.divisions);
            CHECK(counted.comparisons == predicted.comparisons);
            CHECK(counted.exponentials == predicted.exponentials);
            CHECK(counted.bytes_held == predicted.bytes_held);
            CHECK(counted == predicted);
        }
        // It is no approximation that computes less: as many products as dense attention, and more around them.
        const Options& o = problem.options;
        const Costs flash = forward_cost(problem.size, o, 4, tiles);
        const Costs dense = dense::forward_cost(problem.size, o.causal, 4);
        CHECK(flash.multiply_adds == dense.multiply_adds);
        CHECK(flash.exponentials > dense.exponentials);
    }
}

TEST_CASE("flash: the memory held does not grow with n") {
    // Kills: an n × n matrix, the scores of a row, or a second copy of out or of the gradients.
    const auto peak = [](int Nq, int Nk, auto run) {
        Problem<float> problem({1, 1, 1, Nq, Nk, 2, 2}, {true, 0.5}, 1);
        const Inputs<float> inputs = problem.inputs();
        const Outputs<float> outputs = problem.outputs();
        MemoryTracker memory;
        run(inputs, problem.options, outputs);
        const std::int64_t held = memory.peak_bytes_held();
        for (float value : problem.out) REQUIRE(std::isfinite(value));
        return held;
    };
    const auto forward = [](const auto& in, const auto& options, const auto& out) { naive_forward(in, options, out); };
    const auto flash1 = [](const auto& in, const auto& options, const auto& out) {
        naive_forward_flash1(in, options, out);
    };
    const auto split = [](const auto& in, const auto& options, const auto& out) {
        naive_forward_split(in, options, out, 256);
    };
    const auto backward = [](const auto& in, const auto& options, const auto& out) {
        naive_backward(in, options, out);
    };
    const std::int64_t tile = (64 * 64 + 64 * 2 + 3 * 64) * sizeof(float);
    for (int n : {64, 1024, 2048}) {
        INFO("n = " << n);
        CHECK(peak(n, n, forward) == tile);
        CHECK(peak(n, n, flash1) == tile + 2 * n * static_cast<int>(sizeof(float)));  // l and m
    }
    // 16384 keys, or as many queries; dense attention would need a matrix of a gibibyte for both together.
    CHECK(peak(70, 16384, forward) == tile);
    CHECK(peak(70, 16384, split) == tile + (64 * 2 + 2 * 64) * static_cast<int>(sizeof(float)));
    CHECK(peak(16384, 16384, forward) == tile);
    CHECK(dense::forward_cost({1, 1, 1, 16384, 16384, 2, 2}, true, sizeof(float)).bytes_held == 1 << 30);
    // Backward: dO · O of each row; weights and gradients of a tile twice 64 × 64, gradients of 64 keys, 64 · (2 + 2).
    for (int n : {64, 512, 1024}) {
        const auto both = [&](const auto& in, const auto& options, const auto& out) {
            naive_forward(in, options, out);
            backward(in, options, out);
        };
        CHECK(peak(n, n, both) == (n + 2 * 64 * 64 + 64 * (2 + 2)) * static_cast<int>(sizeof(float)));
    }
}

TEST_CASE("flash: numbers moved, by the formulas of the papers") {
    // Kills: N for d, out written once in FlashAttention-1, K and V read once in FlashAttention-2.
    for (int N : {1, 64, 100, 4096})
        for (int d : {1, 64, 128})
            for (int width : {1, 64, 128, 5000}) {
                const Sizes size{1, 1, 1, N, N, d, d};
                const std::int64_t n = N, T = (n + width - 1) / width;
                CHECK(numbers_moved_dense(size) == 4 * n * d + 4 * n * n);
                CHECK(numbers_moved_flash1(size, width) == 2 * n * d + T * (3 * n * d + 4 * n));
                CHECK(numbers_moved_flash2(size, width) == 2 * n * d + n + T * 2 * n * d);
            }
    // Sizes that all differ: each tensor once, by its own extents.
    const Sizes odd{1, 1, 1, 10, 7, 3, 2};
    CHECK(numbers_moved_dense(odd) == (10 * 3 + 7 * 3 + 70) + (70 + 70) + (70 + 7 * 2 + 10 * 2));
    CHECK(numbers_moved_flash1(odd, 4) == 7 * (3 + 2) + 2 * (10 * 3 + 2 * 10 * 2 + 2 * (10 + 10)));
    CHECK(numbers_moved_flash2(odd, 4) == 10 * 3 + 10 * 2 + 10 + 3 * 7 * (3 + 2));

    // The causal one: count the key tiles that some row of a query tile sees.
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const Sizes size = generated_sizes(seed);
        const Tiles tiles = generated_tiles(seed);
        std::int64_t keys_read = 0;
        for (int row = 0; row < size.Nq; row += tiles.Br)
            for (int key = 0; key < size.Nk; key += tiles.Bc) {
                bool needed = false;
                for (int i = row; i < std::min(row + tiles.Br, size.Nq); ++i)
                    needed = needed || key <= i + size.Nk - size.Nq;
                if (needed) keys_read += std::min(tiles.Bc, size.Nk - key);
            }
        INFO(text(size, tiles, seed));
        CHECK(numbers_moved_flash2_causal(size, tiles) ==
              size.Nq * (size.D + size.Dv + 1) + keys_read * (size.D + size.Dv));
        CHECK(numbers_moved_flash2_causal(size, tiles) <= numbers_moved_flash2(size, tiles.Br));
    }

    // How much less is moved. d = 128 and 96 KiB of 16-bit numbers: FlashAttention-1 moves as much as dense attention.
    const Sizes large{1, 1, 1, 4096, 4096, 128, 128};
    const Tiles tiles = tiles_of_flash1(96 * 1024 / 2, 128);
    CHECK((tiles.Br == 96 && tiles.Bc == 96));
    const auto ratio = [](std::int64_t a, std::int64_t b) { return static_cast<double>(a) / static_cast<double>(b); };
    CHECK(ratio(numbers_moved_dense(large), numbers_moved_flash1(large, tiles.Bc)) == Approx(1.0).epsilon(0.02));
    // FlashAttention-2 with 128 queries to a tile: 2 Br / d times less, for N ≫ d.
    CHECK(ratio(numbers_moved_dense(large), numbers_moved_flash2(large, 128)) == Approx(2.0).epsilon(0.05));
    const Sizes narrow{1, 1, 1, 4096, 4096, 64, 64};
    CHECK(ratio(numbers_moved_dense(narrow), numbers_moved_flash2(narrow, 128)) == Approx(4.0).epsilon(0.05));
}

// ---- what is refused ------------------------------------------------------------------------------------------------

TEST_CASE("flash: contradicting shapes and empty tiles are refused by name") {
    Problem<double> problem({1, 4, 2, 3, 5, 6, 7}, {}, 1);
    const auto refused = [&](const Inputs<double>& inputs, const char* message) {
        CHECK_THROWS_WITH(naive_forward(inputs, problem.options, problem.outputs()), Catch::Contains(message));
        CHECK_THROWS_WITH(naive_forward_flash1(inputs, problem.options, problem.outputs()), Catch::Contains(message));
        CHECK_THROWS_WITH(naive_forward_split(inputs, problem.options, problem.outputs(), 64),
                          Catch::Contains(message));
    };
    Inputs<double> inputs = problem.inputs();
    inputs.k = {inputs.k.data(), {1, 2, 5, 5}};
    refused(inputs, "k has shape [1, 2, 5, 5], expected [1, 2, 5, 6]");
    inputs = problem.inputs();
    inputs.k = {inputs.k.data(), {1, 3, 5, 6}};
    refused(inputs, "multiple");
    inputs = problem.inputs();
    inputs.d_out = {inputs.d_out.data(), {1, 4, 3, 6}};
    refused(inputs, "d_out has shape [1, 4, 3, 6], expected [1, 4, 3, 7]");

    inputs = problem.inputs();
    CHECK_THROWS_WITH(naive_forward(inputs, problem.options, problem.outputs(), {0, 4}),
                      "tiles have 0 queries and 4 keys, expected at least 1 of both");
    CHECK_THROWS_AS(naive_forward_flash1(inputs, problem.options, problem.outputs(), {4, -1}), ShapeError);
    CHECK_THROWS_AS(naive_forward_split(inputs, problem.options, problem.outputs(), 0), ShapeError);
    for (double value : problem.out) REQUIRE(std::isnan(value));  // nothing was written
}

TEST_CASE("flash: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("flash_attention");
    const auto refusal = [&](const char* params, auto change) {
        Case sized = mechanism.sized_case(3);
        sized.folder = "some_case";
        sized.params = Params::parse(params);
        change(sized);
        try {
            mechanism.check(sized);
        } catch (const BadCase& error) {
            return std::string(error.what());
        }
        return std::string("(not refused)");
    };
    const auto nothing = [](Case&) {};
    CHECK(refusal("{}", nothing) == "(not refused)");
    CHECK(refusal(R"({"causal": true, "scale": null})", nothing) == "(not refused)");
    CHECK_THAT(refusal(R"({"window": 3})", nothing), Catch::Contains("window"));
    CHECK_THAT(refusal(R"({"causal": 1})", nothing), Catch::Contains("params.causal = 1"));
    CHECK_THAT(refusal(R"({"scale": "large"})", nothing), Catch::Contains("params.scale = \"large\""));
    CHECK_THAT(refusal("{}", [](Case& c) { c.inputs.erase("v"); }), Catch::Contains("some_case/v.npy: found no such"));
    CHECK(refusal("{}", [](Case& c) {
              c.inputs["k"] = zeros(DType::float32, {1, 1, 3, 5});
          }) == "some_case/k.npy has shape [1, 1, 3, 5], expected [1, 1, 3, 16] = [B, G, Nk, D] with B and D of q");
    CHECK_THAT(refusal("{}",
                       [](Case& c) {
                           c.inputs["mask"] = zeros(DType::float32, {3, 3});
                       }),
               Catch::Contains("some_case/mask.npy: found a tensor that flash_attention does not take"));
    CHECK_THAT(refusal("{}",
                       [](Case& c) {
                           c.expected["d_q"] = zeros(DType::float32, {1, 1, 3, 16});
                       }),
               Catch::Contains("d_q.npy"));
}
