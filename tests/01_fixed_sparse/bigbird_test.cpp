// What must hold of BigBird's attention, naive and on the device, on generated problems. Beside each property stands
// the wrong answer that it kills.
#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/01_fixed_sparse/bigbird/bigbird_naive.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "tests/01_fixed_sparse/self_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"

using namespace attn;
using namespace attn::bigbird;
using fixed_sparse::Matrix;
using fixed_sparse::Set;
using fixed_sparse::text;
using testing::error;

namespace {

int pick(std::uint64_t seed, std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); }

template <class T>
struct Problem : fixed_sparse::SelfProblem<T> {
    int block, r;
    std::vector<std::int64_t> random;

    // Random blocks as any case may have them: fixed ones, duplicates and padding among them.
    Problem(Sizes size, int its_block, int count, std::uint64_t seed)
        : fixed_sparse::SelfProblem<T>(size, seed), block(its_block), r(count) {
        random.resize(static_cast<std::size_t>(size.H * (size.N / block) * r));
        for (std::size_t index = 0; index < random.size(); ++index)
            random[index] = pick(seed, 100 + index, -1, size.N / block - 1);
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, other.block, other.r, 0) {
        this->copy(other.q, this->q), this->copy(other.k, this->k), this->copy(other.v, this->v);
        random = other.random;
    }
    TensorView<const std::int64_t, 3> random_blocks() const {
        return {random.data(), {{this->size.H, this->size.N / block, r}}};
    }
    Inputs<T> inputs() const { return {fixed_sparse::SelfProblem<T>::inputs(), random_blocks()}; }
    Set set_of(int h, int i) const { return fixed_sparse::bigbird_set(this->size.N, block, random_blocks(), h, i); }
};

const Tensor<double, 4>& solve(Problem<double>& p, double scale) {
    p.clear();
    naive(p.inputs(), {p.block, scale}, p.outputs());
    return p.out;
}

template <class Function>
void for_each_problem(int count, Function f) {
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(count); ++seed) {
        const int block = pick(seed, 0, 1, 5), blocks = pick(seed, 1, 1, 9);
        Problem<double> problem(
            {pick(seed, 2, 1, 2), pick(seed, 3, 1, 3), block * blocks, pick(seed, 4, 1, 6), pick(seed, 5, 1, 6)}, block,
            pick(seed, 6, 1, 3), seed);
        INFO("seed " << seed << " " << text(problem.size) << " blocks of " << block << " r " << problem.r);
        f(problem, seed % 8 == 0 ? 100 : 0.4);
    }
}

std::vector<CudaVersion> stages() { return cuda_versions("bigbird", ATTN_TEST_DEVICE); }

void run(Problem<float>& problem, const CudaVersion& version, double scale) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), {problem.block, scale}, problem.outputs());
}

}  // namespace

TEST_CASE("bigbird: equals dense attention with a mask") {
    // Kills: a block counted once for each time it is named (as the released block-sparse code does), the random blocks
    // of another head, -1 as a block.
    for_each_problem(60, [](Problem<double>& p, double scale) {
        const auto expected = by_sets(p, scale, [&](int h, int i) { return p.set_of(h, i); });
        CHECK(error(solve(p, scale), expected) <= 1e-12);
    });
}

TEST_CASE("bigbird: with up to four blocks, or all blocks drawn, it is dense attention") {
    for_each_problem(40, [](Problem<double>& p, double scale) {
        const int blocks = p.size.N / p.block;
        if (blocks > 4) {  // all others
            p.r = blocks, p.random.clear();
            for (int row = 0; row < p.size.H * blocks; ++row)
                for (int J = 0; J < blocks; ++J) p.random.push_back(J);
        }
        Problem<double> dense(p);
        auto log_sum_exp = make_tensor<double, 3>({p.size.B, p.size.H, p.size.N});
        dense::naive_forward<double>({view(p.q), view(p.k), view(p.v), {}}, {false, scale},
                                     {view(dense.out), view(log_sum_exp), {}, {}, {}});
        CHECK(error(solve(p, scale), dense.out) <= 1e-12);
    });
}

TEST_CASE("bigbird: what is said of the first and the last row of blocks does not matter; nor does the order") {
    for_each_problem(30, [](Problem<double>& p, double scale) {
        solve(p, scale);
        Problem<double> other(p);
        const int blocks = p.size.N / p.block;
        for (int h = 0; h < p.size.H; ++h)
            for (int I = 0; I < blocks; ++I) {
                const auto row = other.random.begin() + (h * blocks + I) * p.r;
                if (I == 0 || I == blocks - 1)
                    std::fill(row, row + p.r, blocks / 2);
                else
                    std::reverse(row, row + p.r);
            }
        CHECK(testing::same_bits(solve(other, scale), p.out));
    });
}

TEST_CASE("bigbird: heads exchanged with their random blocks are exchanged, and no other way") {
    Problem<double> p({1, 2, 32, 4, 3}, 4, 1, 3), other = p;
    for (int I = 0; I < 8; ++I)
        p.random[static_cast<std::size_t>(I)] = 3, p.random[static_cast<std::size_t>(8 + I)] = 5;
    const auto exchanged = [](const Tensor<double, 4>& of) {
        Tensor<double, 4> result = of;
        xt::view(result, 0, 0) = xt::view(of, 0, 1), xt::view(result, 0, 1) = xt::view(of, 0, 0);
        return result;
    };
    other.q = exchanged(p.q), other.k = exchanged(p.k), other.v = exchanged(p.v);
    other.random = p.random;
    solve(p, 0.4);
    CHECK((solve(other, 0.4) != exchanged(p.out)));
    std::rotate(other.random.begin(), other.random.begin() + 8, other.random.end());
    CHECK((solve(other, 0.4) == exchanged(p.out)));
}

TEST_CASE("bigbird: any two positions hear of each other in two steps, without random blocks too") {
    for (int blocks : {3, 5, 12}) {
        const std::vector<std::int64_t> none(static_cast<std::size_t>(blocks), -1);
        const TensorView<const std::int64_t, 3> random(none.data(), {{1, blocks, 1}});
        const int n = 2 * blocks;
        const Matrix seen =
            fixed_sparse::mask_of(n, n, [&](int i) { return fixed_sparse::bigbird_set(n, 2, random, 0, i); });
        const Matrix paths = fixed_sparse::times_transposed(seen, xt::transpose(seen));
        CHECK(xt::amin(paths)() >= 1);
    }
}

TEST_CASE("bigbird: what a query does not see does not reach it") {
    for_each_problem(30, [](Problem<double>& p, double scale) {
        solve(p, scale);
        Problem<double> other(p);
        const int poisoned = p.size.N / 2;
        xt::view(other.k, xt::all(), xt::all(), poisoned) = std::nan("");
        xt::view(other.v, xt::all(), xt::all(), poisoned) = std::nan("");
        solve(other, scale);
        for (int h = 0; h < p.size.H; ++h)
            for (int i = 0; i < p.size.N; ++i)
                for (int d = 0; d < p.size.Dv; ++d)
                    if (p.set_of(h, i).count(poisoned))
                        CHECK(std::isnan(other.out(0, h, i, d)));
                    else
                        CHECK(other.out(0, h, i, d) == p.out(0, h, i, d));
    });
}

TEST_CASE("bigbird: the work grows as n") {
    CHECK(std::abs(fixed_sparse::counted_exponent("bigbird", {128, 256, 512, 1024}) - 1) <= 0.08);
}

TEST_CASE("bigbird: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("bigbird");
    const auto refusal = [&](const char* params, auto change) {
        Case sized = mechanism.sized_case(24);  // three blocks of 8
        sized.folder = "some_case";
        sized.params = Params::parse(params);
        change(sized);
        return testing::refusal([&] { mechanism.check(sized); });
    };
    const auto nothing = [](Case&) {};
    const auto random = [](std::vector<std::int64_t> shape, std::int64_t value, DType type = DType::int64) {
        return [=](Case& c) {
            Array blocks = zeros(type, shape);
            if (type == DType::int64) blocks.data<std::int64_t>()[blocks.count() - 1] = value;
            if (type == DType::int32) blocks.data<std::int32_t>()[blocks.count() - 1] = static_cast<int>(value);
            c.inputs["random_blocks"] = blocks;
        };
    };
    CHECK(refusal(R"({"block": 8})", nothing) == "(not refused)");
    CHECK(refusal(R"({"block": 8})", random({1, 3, 5}, 2, DType::int32)) == "(not refused)");
    CHECK(refusal(R"({"block": 12})", random({1, 2, 1}, -1)) == "(not refused)");
    CHECK_THAT(refusal("{}", nothing), Catch::Contains("params.block"));
    CHECK_THAT(refusal(R"({"block": 0})", nothing), Catch::Contains("params.block = 0"));
    CHECK_THAT(refusal(R"({"block": 7})", nothing), Catch::Contains("q.npy has 24 positions, expected a multiple"));
    CHECK_THAT(refusal(R"({"block": 6})", nothing), Catch::Contains("random_blocks.npy has shape [1, 3, 2]"));
    CHECK_THAT(refusal(R"({"block": 8})", random({1, 3, 1}, 3)), Catch::Contains("random_blocks.npy holds 3"));
    CHECK_THAT(refusal(R"({"block": 8})", random({1, 3, 1}, -2)), Catch::Contains("random_blocks.npy holds -2"));
    // A number that 32 bits would turn into block 1.
    CHECK_THAT(refusal(R"({"block": 8})", random({1, 3, 1}, (std::int64_t{1} << 32) + 1)),
               Catch::Contains("random_blocks.npy holds 4294967297"));
    CHECK_THAT(refusal(R"({"block": 8})", random({1, 3, 1}, 0, DType::float32)), Catch::Contains("int32 or int64"));
    CHECK_THAT(refusal(R"({"block": 8, "causal": false})", nothing), Catch::Contains("causal"));
}

TEST_CASE("bigbird, on the device: every stage equals the naive version in double on generated sizes") {
    // Kills: lists of head 0 for all heads, a part of a split row forgotten, a block border inside a tile.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        constexpr int usual[] = {64, 32, 16, 128};
        const int block = seed % 2 ? pick(seed, 0, 1, 40) : usual[seed / 2 % 4];
        const int blocks = std::max(1, pick(seed, 1, 1, seed % 6 == 0 ? 700 : 250) / block);
        const int D = seed % 2 ? pick(seed, 2, 1, 70) : 32, Dv = seed % 2 ? pick(seed, 3, 1, 140) : 64;
        Problem<float> problem({pick(seed, 7, 1, 2), pick(seed, 4, 1, 2), block * blocks, D, Dv}, block,
                               pick(seed, 6, 1, 3), seed);
        const double scale = (seed % 5 == 0 ? 5 : 1) / std::sqrt(D);
        Problem<double> exact(problem);
        solve(exact, scale);
        for (const CudaVersion& version : stages()) {
            run(problem, version, scale);
            INFO("seed " << seed << " " << version.name << " " << text(problem.size) << " block " << block);
            CHECK(error(problem.out, exact.out) <= 2e-6);
        }
    }
}

TEST_CASE("bigbird, on the device: split rows are put together, and NaN stays where it is seen") {
    // 20 blocks of 64: the first and the last row have 20 visits, more than a block of threads takes.
    Problem<float> clean({1, 1, 1280, 16, 16}, 64, 1, 7);
    for (int I = 0; I < 20; ++I) clean.random[static_cast<std::size_t>(I)] = -1;
    Problem<float> other = clean;
    xt::view(other.v, 0, 0, 640) = std::nanf("");
    Problem<double> exact(clean);
    solve(exact, 0.25);
    for (const CudaVersion& version : stages()) {
        run(clean, version, 0.25), run(other, version, 0.25);
        INFO(version.name);
        CHECK(error(clean.out, exact.out) <= 2e-6);
        for (int i = 0; i < 1280; ++i)
            if (clean.set_of(0, i).count(640))
                REQUIRE(std::isnan(other.out(0, 0, i, 3)));
            else
                REQUIRE(other.out(0, 0, i, 3) == clean.out(0, 0, i, 3));
    }
}
