// What must hold of Mamba, naive and on the device. Beside each property stands the wrong answer that it kills.
#include "chapters/07_beyond_attention/mamba/mamba_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::mamba;
using testing::error, testing::same_bits;

namespace {

template <class T>
struct LayerProblem {
    int B, L;
    Sizes size;
    bool inner_norms;
    Options options;
    Tensor<T, 3> hidden, out;
    Tensor<T, 2> in_proj, conv_weight, x_proj, dt_proj, a_log, out_proj;
    Tensor<T, 1> conv_bias, dt_bias, d, dt_norm, b_norm, c_norm;

    LayerProblem(int sequences, int length, Sizes sizes, bool norms, std::uint64_t seed)
        : B(sequences), L(length), size(sizes), inner_norms(norms) {
        const auto [Dm, Di, S, W, R] = sizes;
        std::uint64_t stream = 100 * seed;
        const auto matrix = [&](int rows, int columns, double deviation) {
            auto w = make_tensor<T, 2>({rows, columns});
            fill_normal(view(w), ++stream, deviation);
            return w;
        };
        const auto vector = [&](int count, double deviation, double mean = 0) {
            auto w = make_tensor<T, 1>({{count}});
            fill_normal(view(w), ++stream, deviation);
            for (T& x : w) x = static_cast<T>(static_cast<double>(x) + mean);
            return w;
        };
        hidden = make_tensor<T, 3>({B, L, Dm});
        fill_normal(view(hidden), ++stream);
        in_proj = matrix(2 * Di, Dm, 1 / std::sqrt(Dm)), conv_weight = matrix(Di, W, 1 / std::sqrt(W));
        x_proj = matrix(R + 2 * S, Di, 1 / std::sqrt(Di)), dt_proj = matrix(Di, R, 1 / std::sqrt(R));
        a_log = matrix(Di, S, 1), out_proj = matrix(Dm, Di, 1 / std::sqrt(Di));
        conv_bias = vector(Di, 1), dt_bias = vector(Di, 1, -2), d = vector(Di, 1);
        dt_norm = vector(R, 0.25, 1), b_norm = vector(S, 0.25, 1), c_norm = vector(S, 0.25, 1);
        clear();
    }
    template <class U>
    explicit LayerProblem(const LayerProblem<U>& o) : LayerProblem(o.B, o.L, o.size, o.inner_norms, 0) {
        const auto copy = [](const auto& from, auto& to) { std::copy(from.begin(), from.end(), to.begin()); };
        copy(o.hidden, hidden), copy(o.in_proj, in_proj), copy(o.conv_weight, conv_weight), copy(o.x_proj, x_proj);
        copy(o.dt_proj, dt_proj), copy(o.a_log, a_log), copy(o.out_proj, out_proj), copy(o.conv_bias, conv_bias);
        copy(o.dt_bias, dt_bias), copy(o.d, d), copy(o.dt_norm, dt_norm), copy(o.b_norm, b_norm);
        copy(o.c_norm, c_norm), options = o.options;
    }
    void clear() { out = make_tensor<T, 3>({B, L, size.Dm}, static_cast<T>(std::nanf(""))); }
    Weights<T> weights() const {
        Weights<T> w;
        w.in_proj = view(in_proj), w.conv_weight = view(conv_weight), w.conv_bias = view(conv_bias);
        w.x_proj = view(x_proj), w.dt_proj = view(dt_proj), w.dt_bias = view(dt_bias), w.a_log = view(a_log);
        w.d = view(d), w.out_proj = view(out_proj);
        if (inner_norms) w.dt_norm = view(dt_norm), w.b_norm = view(b_norm), w.c_norm = view(c_norm);
        return w;
    }
    Inputs<T> inputs() const { return {view(hidden), weights()}; }
};

template <class T>
LayerProblem<T> solved(LayerProblem<T> problem) {
    problem.clear();
    naive(problem.inputs(), problem.options, Outputs<T>{view(problem.out)});
    return problem;
}
LayerProblem<float> on_the_device(LayerProblem<float> problem) {
    const std::vector<CudaVersion> versions = cuda_versions("mamba", ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == 1);
    problem.clear();
    cuda_function<CudaFunction>(versions[0])(problem.inputs(), problem.options, Outputs<float>{view(problem.out)});
    return problem;
}

template <class T>
Tensor<T, 3> first_positions(const Tensor<T, 3>& tensor, int count) {
    return xt::view(tensor, xt::all(), xt::range(0, count), xt::all());
}
LayerProblem<double> generated(std::uint64_t seed) {
    const auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    return {pick(1, 1, 3),
            pick(2, 1, 40),
            {pick(3, 1, 9), pick(4, 1, 70), pick(5, 1, 20), pick(6, 1, 6), pick(7, 1, 5)},
            seed % 2 == 0,
            seed};
}

}  // namespace

TEST_CASE("mamba: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("mamba");
    REQUIRE(cases.size() >= 25);
    const auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    for (const char* norm : {"dt_norm", "b_norm", "c_norm"})
        CHECK(count([&](const Case& c) { return c.inputs.count(norm) > 0; }) >= 3);
    CHECK(count([](const Case& c) { return c.params.has("prefill"); }) >= 8);
    CHECK(count([](const Case& c) { return c.inputs.at("conv_weight").shape[1] != 4; }) >= 3);
}

TEST_CASE("mamba: naive agrees with transformers in every precision") { testing::check_naive_on_golden_cases("mamba"); }

TEST_CASE("mamba: the CUDA version agrees with transformers") { testing::check_cuda_on_golden_cases("mamba", 1); }

TEST_CASE("mamba: in chunks of any lengths it is the whole, to the bit") {
    // Kills: a convolution that begins anew, a window that is too short after a chunk shorter than it, a lost state.
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        LayerProblem<double> p = generated(seed);
        const auto expected = solved(p);
        const Tensor<double, 2> a = decay_rates(p.weights());
        OwnedState<double> state(p.size, p.B);
        int chunk = 0;
        for (int first = 0, count; first < p.L; first += count, ++chunk) {
            count = std::min(random_integer(seed, 100 + static_cast<std::uint64_t>(chunk), 1, 7), p.L - first);
            for (int b = 0; b < p.B; ++b)
                advance<double>(p.weights(), 1e-6, view(a), positions(p.inputs().hidden, b, {first, count}), b,
                                state.view(), positions(view(p.out), b, {first, count}));
        }
        INFO("seed " << seed << ", " << chunk << " chunks of " << p.L << " positions");
        CHECK(same_bits(p.out, expected.out));
        p.options.prefill = 1 + static_cast<int>(seed) % p.L;
        CHECK(same_bits(solved(p).out, expected.out));
    }
}

TEST_CASE("mamba: later tokens change nothing, and one sequence nothing in another") {
    const LayerProblem<double> p(2, 12, {4, 6, 3, 4, 2}, true, 3);
    const auto clean = solved(p);
    auto poisoned = p;
    xt::view(poisoned.hidden, xt::all(), xt::range(7, 12), xt::all()) = std::nan("");
    CHECK(same_bits(first_positions(solved(poisoned).out, 7), first_positions(clean.out, 7)));
    poisoned = p;
    xt::view(poisoned.hidden, 0, xt::all(), xt::all()) = std::nan("");
    const Tensor<double, 3> other = xt::view(clean.out, xt::range(1, 2), xt::all(), xt::all());
    const auto result = solved(poisoned);
    const Tensor<double, 3> others = xt::view(result.out, xt::range(1, 2), xt::all(), xt::all());
    CHECK(same_bits(others, other));
}

TEST_CASE("mamba: the convolution answers an impulse with its weights, the last of them first") {
    // Kills: taps in the wrong order, a window that looks ahead. Everything else is made transparent: Δ is 0, so that
    // only D u = u is left, and silu(x) is x where x is large. Position 8 asks what has come of position `at`.
    LayerProblem<double> p(1, 9, {1, 1, 1, 4, 1}, false, 5);
    p.dt_bias.fill(-std::numeric_limits<double>::infinity()), p.conv_bias.fill(0), p.d.fill(1), p.out_proj.fill(1);
    for (int j = 0; j < 4; ++j) p.conv_weight(0, j) = 1 + j;
    p.in_proj.fill(100);  // x = z = 100 hidden
    for (int at = 5; at < 9; ++at) {
        p.hidden.fill(0), p.hidden(0, at, 0) = 1, p.hidden(0, 8, 0) = 1;
        const double own = 100 * p.conv_weight(0, 3), moved = at == 8 ? 0 : 100 * p.conv_weight(0, 3 - (8 - at));
        CHECK(solved(p).out(0, 8, 0) == Approx((own + moved) * 100).epsilon(1e-12));
    }
}

TEST_CASE("mamba: without a step it remembers nothing new, and is the convolution with its gate") {
    // Kills: the bias of Δ added behind the softplus, D that is forgotten.
    LayerProblem<double> p(2, 10, {3, 5, 4, 3, 2}, true, 6);
    p.dt_bias.fill(-std::numeric_limits<double>::infinity());
    const auto result = solved(p);
    double difference = 0, largest = 0;
    for (int b = 0; b < p.B; ++b)
        for (int t = 0; t < p.L; ++t) {
            Tensor<double, 1> y = make_tensor<double, 1>({{5}});
            for (int d = 0; d < 5; ++d) {
                double sum = p.conv_bias(d), z = 0;
                for (int j = 0; j < 3; ++j)
                    for (int m = 0; m < 3; ++m)
                        if (t - 2 + j >= 0) sum += p.conv_weight(d, j) * p.in_proj(d, m) * p.hidden(b, t - 2 + j, m);
                for (int m = 0; m < 3; ++m) z += p.in_proj(5 + d, m) * p.hidden(b, t, m);
                y(d) = p.d(d) * sum / (1 + std::exp(-sum)) * z / (1 + std::exp(-z));
            }
            for (int m = 0; m < 3; ++m) {
                double expected = 0;
                for (int d = 0; d < 5; ++d) expected += p.out_proj(m, d) * y(d);
                difference = std::max(difference, std::abs(expected - result.out(b, t, m)));
                largest = std::max(largest, std::abs(expected));
            }
        }
    CHECK(difference <= 1e-14 * largest);
}

TEST_CASE("mamba: with the norms, the size of B and C does not matter") {
    // Kills: a norm of the whole of [dt ; B ; C], or of Δ behind W_dt.
    LayerProblem<double> p(1, 9, {3, 6, 4, 2, 2}, true, 7);
    p.options.norm_epsilon = 0;
    const auto expected = solved(p);
    const auto scale_rows = [&](int first, int count, double by) {
        for (int row = first; row < first + count; ++row)
            for (int d = 0; d < 6; ++d) p.x_proj(row, d) *= by;
    };
    scale_rows(0, 2, 0.5), scale_rows(2, 4, 8), scale_rows(6, 4, 0.25);
    CHECK(error(solved(p).out, expected.out) <= 1e-13);
    p.inner_norms = false;
    CHECK(error(solved(p).out, expected.out) >= 0.01);
}

TEST_CASE("mamba: channels may change places, and zeros in front shift everything") {
    // Kills: D or the bias of a neighbouring channel; a position that counts.
    LayerProblem<double> p(1, 14, {3, 5, 4, 4, 2}, false, 8);
    auto turned = p;
    for (int d = 0; d < 5; ++d) {
        const int from = (d + 2) % 5;
        const auto row = [&](auto& to, const auto& source, int at = 0) {
            xt::view(to, at + d, xt::all()) = xt::view(source, at + from, xt::all());
        };
        row(turned.in_proj, p.in_proj), row(turned.in_proj, p.in_proj, 5), row(turned.conv_weight, p.conv_weight);
        row(turned.dt_proj, p.dt_proj), row(turned.a_log, p.a_log);
        turned.conv_bias(d) = p.conv_bias(from), turned.dt_bias(d) = p.dt_bias(from), turned.d(d) = p.d(from);
        xt::view(turned.x_proj, xt::all(), d) = xt::view(p.x_proj, xt::all(), from);
        xt::view(turned.out_proj, xt::all(), d) = xt::view(p.out_proj, xt::all(), from);
    }
    CHECK(error(solved(turned).out, solved(p).out) <= 1e-13);
    p.conv_bias.fill(0);
    auto shifted = p;
    xt::view(shifted.hidden, xt::all(), xt::range(0, 4), xt::all()) = 0;
    xt::view(shifted.hidden, xt::all(), xt::range(4, 14), xt::all()) =
        xt::view(p.hidden, xt::all(), xt::range(0, 10), xt::all());
    const auto whole = solved(shifted);
    const Tensor<double, 3> behind = xt::view(whole.out, xt::all(), xt::range(4, 14), xt::all());
    CHECK(same_bits(behind, first_positions(solved(p).out, 10)));
}

TEST_CASE("mamba: costs by formula equal the counts, and token by token the memory does not grow") {
    const Mechanism& mechanism = *find_mechanism("mamba");
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
        const auto p = generated(seed);
        const auto [Dm, Di, S, W, R] = p.size;
        Case input = random_case("mamba", p.L,
                                 {{"hidden", {p.B, p.L, Dm}},
                                  {"in_proj", {2 * Di, Dm}},
                                  {"conv_weight", {Di, W}},
                                  {"conv_bias", {Di}},
                                  {"x_proj", {R + 2 * S, Di}},
                                  {"dt_proj", {Di, R}},
                                  {"dt_bias", {Di}},
                                  {"a_log", {Di, S}},
                                  {"d", {Di}},
                                  {"out_proj", {Dm, Di}}});
        if (seed % 2) input.inputs["dt_norm"] = random_array({R}, 1);
        if (seed % 3) input.inputs["b_norm"] = random_array({S}, 2);
        if (seed % 5) input.inputs["c_norm"] = random_array({S}, 3);
        if (seed % 4) input.params = Params::parse(fmt::format(R"({{"prefill": {}}})", 1 + seed % p.L), "generated");
        INFO("seed " << seed);
        CHECK(mechanism.counted_costs(input) == mechanism.predicted_costs(input));
    }
    std::vector<std::int64_t> held;
    for (int n : {256, 1024}) {
        Case input = mechanism.sized_case(n);
        input.params = Params::parse(R"({"prefill": 1})", "token by token");
        held.push_back(mechanism.counted_costs(input).bytes_held);
    }
    CHECK(held[0] == held[1]);
}

TEST_CASE("mamba: what contradicts itself is refused by name") {
    Case input = find_mechanism("mamba")->sized_case(8);
    const auto refused = [&](const char* tensor, std::vector<std::int64_t> shape) {
        Case wrong = input;
        wrong.inputs[tensor] = random_array(std::move(shape), 1);
        const std::string message = testing::refusal([&] { find_mechanism("mamba")->check(wrong); });
        INFO(message);
        CHECK(message.starts_with((wrong.folder / (std::string(tensor) + ".npy")).string()));
        CHECK(message.find(", expected ") != std::string::npos);
    };
    SECTION("x_proj") { refused("x_proj", {32, 8}); }
    SECTION("in_proj") { refused("in_proj", {8, 4}); }
    SECTION("conv_bias") { refused("conv_bias", {9}); }
    SECTION("dt_norm") { refused("dt_norm", {2}); }
    SECTION("rank") { refused("a_log", {8}); }
    SECTION("prefill") {
        input.params = Params::parse(R"({"prefill": 9})", "case.json");
        CHECK_THROWS_AS(find_mechanism("mamba")->check(input), BadCase);
    }
}

TEST_CASE("mamba, on the device: it equals double, at once and token by token, and both have the same bits") {
    for (std::uint64_t seed = 1; seed <= 14; ++seed) {
        LayerProblem<float> problem(generated(seed));
        if (seed > 10)
            problem = LayerProblem<float>(2, 300 + static_cast<int>(seed), {8, 40, 16, 4, 4}, seed % 2, seed);
        const auto exact = solved(LayerProblem<double>(problem));
        const auto result = on_the_device(problem);
        INFO("seed " << seed << " L" << problem.L << " Di" << problem.size.Di);
        CHECK(error(result.out, exact.out) <= 5e-6);
        problem.options.prefill = std::max(1, problem.L - 20);
        CHECK(same_bits(on_the_device(problem).out, result.out));
    }
}
