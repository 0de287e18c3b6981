// The kernels of FlashAttention on generated problems. Beside each property stands the wrong answer that it kills.
#include <cstring>
#include <limits>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/05_flash_attention/flash_attention.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::flash_attention;
using testing::relative_error;
using testing::same_bits;

namespace {

// A problem that owns its tensors, in T.
template <class T>
struct Problem {
    Sizes size;
    Tensor<T, 4> q, k, v, d_out, out, d_q, d_k, d_v;
    Tensor<T, 3> log_sum_exp;

    Problem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D}),
        k = make_tensor<T, 4>({size.B, size.G, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.G, size.Nk, size.Dv});
        d_out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv});
        fill_normal(view(q), seed), fill_normal(view(k), seed + 1), fill_normal(view(v), seed + 2);
        fill_normal(view(d_out), seed + 3);
        const T poison = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 4>(view(d_out).shape(), poison);
        log_sum_exp = make_tensor<T, 3>({size.B, size.H, size.Nq}, poison);
        d_q = make_tensor<T, 4>(view(q).shape(), poison), d_k = make_tensor<T, 4>(view(k).shape(), poison);
        d_v = make_tensor<T, 4>(view(v).shape(), poison);
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, 0) {
        std::copy(other.q.begin(), other.q.end(), q.begin()), std::copy(other.k.begin(), other.k.end(), k.begin());
        std::copy(other.v.begin(), other.v.end(), v.begin());
        std::copy(other.d_out.begin(), other.d_out.end(), d_out.begin());
    }
    Inputs<T> inputs(bool backward) const {
        return {view(q), view(k), view(v), backward ? view(d_out) : TensorView<const T, 4>{}};
    }
    Outputs<T> outputs(bool backward) {
        Outputs<T> result{view(out), view(log_sum_exp), {}, {}, {}};
        if (backward) result.d_q = view(d_q), result.d_k = view(d_k), result.d_v = view(d_v);
        return result;
    }
    void run(const CudaVersion& version, const Options& options, bool backward = false) {
        cuda_function<CudaFunction>(version)(inputs(backward), options, outputs(backward));
    }
};

std::vector<CudaVersion> stages() { return cuda_versions("flash_attention", ATTN_TEST_DEVICE); }

// Sizes around the edges of tiles of 32 and 64, of strips and of splits, from the seed.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    const int G = pick(0, 1, 2);
    Sizes size{pick(1, 1, 2), G * pick(2, 1, 3), G, pick(3, 1, 70), pick(4, 1, 140), pick(5, 1, 70), pick(6, 1, 140)};
    constexpr int usual[] = {32, 64, 96, 128};
    if (seed % 3 == 0) size.D = usual[seed % 4], size.Dv = usual[seed / 3 % 4];  // 16-byte accesses
    if (seed % 8 == 0) size.Nk = 255 + static_cast<int>(seed / 8), size.Nq = 9;  // around a split
    if (seed % 10 == 0) size.Nk = 600, size.Nq = 3;
    return size;
}

std::string text(const Sizes& s) {
    return "B" + std::to_string(s.B) + " H" + std::to_string(s.H) + " G" + std::to_string(s.G) + " Nq" +
           std::to_string(s.Nq) + " Nk" + std::to_string(s.Nk) + " D" + std::to_string(s.D) + " Dv" +
           std::to_string(s.Dv);
}

}  // namespace

TEST_CASE("flash, on the device: every stage equals dense attention in double, forward and backward") {
    // Kills: a sum that does not shrink when the maximum grows, a last tile forgotten, gradients of one head of a
    // group.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        const Sizes size = generated_sizes(seed);
        const Options options{seed % 2 == 0, (seed % 5 == 0 ? 5 : 1) / std::sqrt(size.D)};
        Problem<double> exact(Problem<float>(size, 10 * seed));
        dense::naive<double>(exact.inputs(true), {options.causal, options.scale}, exact.outputs(true));
        for (const CudaVersion& version : stages()) {
            INFO("seed " << seed << " " << version.name << " " << text(size));
            Problem<float> problem(size, 10 * seed);
            problem.run(version, options, true);
            CHECK(relative_error(view(problem.out), view(exact.out)) <= 2e-6);
            CHECK(relative_error(view(problem.log_sum_exp), view(exact.log_sum_exp)) <= 2e-6);
            CHECK(relative_error(view(problem.d_q), view(exact.d_q)) <= 1e-5);
            CHECK(relative_error(view(problem.d_k), view(exact.d_k)) <= 1e-5);
            CHECK(relative_error(view(problem.d_v), view(exact.d_v)) <= 1e-5);
        }
    }
}

TEST_CASE("flash, on the device: a query has the same bits alone, in a chunk and among all") {
    // Prefill, chunks and decoding go to different kernels of stage 4. Kills: tiles counted from the diagonal, a number
    // of splits that depends on the length, a sum whose shape depends on how many keys a tile has.
    const CudaVersion stage4 = stages().back();
    for (auto [D, Dv] : {std::pair{16, 20}, {64, 64}, {50, 130}}) {
        constexpr int N = 330;
        Problem<float> whole({1, 4, 2, N, N, D, Dv}, 3);
        const Options options{true, 0.2};
        whole.run(stage4, options);
        for (auto [first, count] : {std::pair{0, 1},
                                    {1, 1},
                                    {63, 1},
                                    {64, 1},
                                    {255, 1},
                                    {256, 1},
                                    {329, 1},
                                    {300, 7},
                                    {60, 16},
                                    {100, 17},
                                    {250, 70}}) {
            // The queries first … first + count - 1 see the keys up to their own positions.
            Problem<float> part({1, 4, 2, count, first + count, D, Dv}, 0);
            part.q = xt::view(whole.q, xt::all(), xt::all(), xt::range(first, first + count));
            part.k = xt::view(whole.k, xt::all(), xt::all(), xt::range(0, first + count));
            part.v = xt::view(whole.v, xt::all(), xt::all(), xt::range(0, first + count));
            part.run(stage4, options);
            INFO("D " << D << " Dv " << Dv << ", queries " << first << " … " << first + count - 1);
            const Tensor<float, 4> expected =
                xt::view(whole.out, xt::all(), xt::all(), xt::range(first, first + count));
            const Tensor<float, 3> expected_log =
                xt::view(whole.log_sum_exp, xt::all(), xt::all(), xt::range(first, first + count));
            CHECK(same_bits(part.out, expected));
            CHECK(same_bits(part.log_sum_exp, expected_log));
        }
    }
}

TEST_CASE("flash, on the device: the same bits on every run, and the gradient of q without atomics") {
    const Sizes size{1, 4, 2, 150, 150, 32, 32};
    for (const CudaVersion& version : stages()) {
        Problem<float> first(size, 1), again(size, 1);
        first.run(version, {true, 0.3}, true), again.run(version, {true, 0.3}, true);
        INFO(version.name);
        CHECK((same_bits(first.out, again.out) && same_bits(first.log_sum_exp, again.log_sum_exp)));
        CHECK((same_bits(first.d_k, again.d_k) && same_bits(first.d_v, again.d_v)));
        if (version.name == "stage4") CHECK(same_bits(first.d_q, again.d_q));
    }
}

TEST_CASE("flash, on the device: one vector more in all keys changes nothing, and their gradients sum to 0") {
    for (const CudaVersion& version : stages()) {
        Problem<float> plain({1, 2, 1, 70, 90, 16, 16}, 5), shifted({1, 2, 1, 70, 90, 16, 16}, 5);
        for (int d = 0; d < 16; ++d)
            xt::view(shifted.k, xt::all(), xt::all(), xt::all(), d) += 0.3f * static_cast<float>(d) - 1;
        plain.run(version, {false, 0.5}, true), shifted.run(version, {false, 0.5});
        INFO(version.name);
        CHECK(relative_error(view(shifted.out), view(plain.out)) <= 1e-5);
        const xt::xarray<double> sums = xt::sum(xt::cast<double>(plain.d_k), 2),
                                 size = xt::sum(xt::abs(xt::cast<double>(plain.d_k)), 2);
        CHECK(xt::amax(xt::abs(sums))() <= 1e-5 * xt::amax(size)());
    }
}

TEST_CASE("flash, on the device: what nobody may see is never read, forward and backward") {
    for (const CudaVersion& version : stages())
        for (int first : {1, 9, 64, 69}) {
            const Sizes size{1, 2, 1, 70, 70, 12, 20};
            Problem<float> clean(size, 7), poisoned(size, 7);
            for (auto* tensor : {&poisoned.k, &poisoned.v})
                xt::view(*tensor, 0, 0, xt::range(first, 70), xt::all()) = std::nanf("");
            clean.run(version, {true, 0.3}, true), poisoned.run(version, {true, 0.3}, true);
            INFO(version.name << ", NaN from key " << first);
            for (int h = 0; h < 2; ++h)
                for (int i = 0; i < 70; ++i) {
                    for (int d = 0; d < 20; ++d)
                        if (i < first)
                            REQUIRE(poisoned.out(0, h, i, d) == clean.out(0, h, i, d));
                        else
                            REQUIRE(std::isnan(poisoned.out(0, h, i, d)));
                    for (int d = 0; d < 12 && i < first; ++d)
                        REQUIRE(std::abs(poisoned.d_q(0, h, i, d) - clean.d_q(0, h, i, d)) <=
                                1e-6f * std::abs(clean.d_q(0, h, i, d)));
                }
        }
}

TEST_CASE("flash, on the device: blind rows give 0, -inf and no gradient, and spoil none") {
    for (const CudaVersion& version : stages()) {
        Problem<float> clean({1, 1, 1, 9, 4, 8, 4}, 19), poisoned({1, 1, 1, 9, 4, 8, 4}, 19);
        xt::view(poisoned.q, 0, 0, xt::range(0, 5), xt::all()) = std::nanf("");
        xt::view(poisoned.d_out, 0, 0, xt::range(0, 5), xt::all()) = std::nanf("");
        clean.run(version, {true, 1}, true), poisoned.run(version, {true, 1}, true);
        INFO(version.name);
        for (int i = 0; i < 5; ++i) {
            CHECK(poisoned.log_sum_exp(0, 0, i) == -std::numeric_limits<float>::infinity());
            for (int d = 0; d < 4; ++d) CHECK(poisoned.out(0, 0, i, d) == 0);
            for (int d = 0; d < 8; ++d) CHECK(poisoned.d_q(0, 0, i, d) == 0);
        }
        CHECK((same_bits(poisoned.d_k, clean.d_k) && same_bits(poisoned.d_v, clean.d_v)));
    }
}

TEST_CASE("flash, on the device: large logits, one huge key and equal scores") {
    // Kills: no subtraction of the maximum, sums that do not shrink.
    for (const CudaVersion& version : stages())
        for (double scale : {30.0, -30.0, 0.0}) {
            Problem<float> problem({1, 1, 1, 33, 300, 16, 16}, 13);
            for (int d = 0; d < 16; ++d) problem.k(0, 0, 270, d) *= 20;  // in the second split
            Problem<double> exact(problem);
            problem.run(version, {false, scale});
            dense::naive_forward<double>(exact.inputs(false), {false, scale}, exact.outputs(false));
            INFO(version.name << ", scale " << scale);
            CHECK(relative_error(view(problem.out), view(exact.out)) <= 2e-4);  // scores of 1e4 keep 3 decimals
        }
}

TEST_CASE("flash, on the device: rows longer than what shared memory holds of them") {
    // Stage 3 then loads the queries strip by strip, as the keys; stage 4 leaves everything to it.
    for (const CudaVersion& version : stages()) {
        if (version.name < std::string("stage3")) continue;
        Problem<float> problem({1, 2, 1, 70, 70, 1100, 20}, 31);
        Problem<double> exact(problem);
        problem.run(version, {true, 1 / std::sqrt(1100.)}, true);
        dense::naive<double>(exact.inputs(true), {true, 1 / std::sqrt(1100.)}, exact.outputs(true));
        INFO(version.name);
        CHECK(relative_error(view(problem.out), view(exact.out)) <= 2e-6);
        CHECK(relative_error(view(problem.d_q), view(exact.d_q)) <= 1e-5);
        CHECK(relative_error(view(problem.d_k), view(exact.d_k)) <= 1e-5);
    }
}
