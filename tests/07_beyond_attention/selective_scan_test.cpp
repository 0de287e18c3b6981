// What must hold of the selective scan, naive and on the device. Beside each property stands the wrong answer that it
// kills.
#include <fmt/format.h>

#include <cstring>

#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive_backward.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::selective_scan;
using testing::error, testing::same_bits;

namespace {

template <class T>
struct ScanProblem {
    Sizes size;
    Options options;
    bool gated = true, continues = false;
    Tensor<T, 3> u, delta, b, c, z, out, last_state, initial_state;
    Tensor<T, 2> a;
    Tensor<T, 1> d, delta_bias;

    ScanProblem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        u = make_tensor<T, 3>({size.B, size.D, size.L}), delta = u, z = u;
        b = make_tensor<T, 3>({size.B, size.S, size.L}), c = b;
        initial_state = make_tensor<T, 3>({size.B, size.D, size.S}), a = make_tensor<T, 2>({size.D, size.S});
        d = make_tensor<T, 1>({{size.D}}), delta_bias = d;
        fill_normal(view(u), seed), fill_normal(view(delta), seed + 1), fill_normal(view(b), seed + 2);
        fill_normal(view(c), seed + 3), fill_normal(view(z), seed + 4), fill_normal(view(d), seed + 5);
        fill_normal(view(delta_bias), seed + 6), fill_normal(view(initial_state), seed + 7);
        for (int i = 0; i < size.D; ++i)
            for (int s = 0; s < size.S; ++s) a(i, s) = static_cast<T>(-0.25 * (1 + (i + s) % 7));
        options.delta_softplus = true;
        options.discretization = seed % 2 ? Discretization::euler : Discretization::zoh;
        clear();
    }
    template <class U>
    explicit ScanProblem(const ScanProblem<U>& other) : ScanProblem(other.size, 0) {
        auto copy = [](const auto& from, auto& to) { std::copy(from.begin(), from.end(), to.begin()); };
        copy(other.u, u), copy(other.delta, delta), copy(other.b, b), copy(other.c, c), copy(other.z, z);
        copy(other.d, d), copy(other.delta_bias, delta_bias), copy(other.initial_state, initial_state);
        copy(other.a, a);
        options = other.options, gated = other.gated, continues = other.continues;
    }
    void clear() {
        const T nan = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 3>({size.B, size.D, size.L}, nan);
        last_state = make_tensor<T, 3>({size.B, size.D, size.S}, nan);
    }
    Inputs<T> inputs() const {
        Inputs<T> in;
        in.u = view(u), in.delta = view(delta), in.a = view(a), in.b = view(b), in.c = view(c);
        if (gated) in.d = view(d), in.z = view(z), in.delta_bias = view(delta_bias);
        if (continues) in.initial_state = view(initial_state);
        return in;
    }
    // The tokens first … first + count - 1 alone, beginning where `before` has ended.
    ScanProblem tokens(int first, int count, const ScanProblem* before = nullptr) const {
        ScanProblem part({size.B, size.D, count, size.S}, 0);
        part.options = options, part.gated = gated;
        part.a = a, part.d = d, part.delta_bias = delta_bias;
        part.u = xt::view(u, xt::all(), xt::all(), xt::range(first, first + count));
        part.delta = xt::view(delta, xt::all(), xt::all(), xt::range(first, first + count));
        part.b = xt::view(b, xt::all(), xt::all(), xt::range(first, first + count));
        part.c = xt::view(c, xt::all(), xt::all(), xt::range(first, first + count));
        part.z = xt::view(z, xt::all(), xt::all(), xt::range(first, first + count));
        if (before) part.continues = true, part.initial_state = before->last_state;
        return part;
    }
};

template <class T>
ScanProblem<T> solved(ScanProblem<T> problem) {
    problem.clear();
    naive(problem.inputs(), problem.options, Outputs<T>{view(problem.out), view(problem.last_state)});
    return problem;
}
ScanProblem<double> solved(ScanProblem<double> problem, Form form, int chunk = 32) {
    problem.options.form = form, problem.options.chunk = chunk;
    return solved(problem);
}
ScanProblem<float> solved(ScanProblem<float> problem, const CudaVersion& version) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), problem.options,
                                         Outputs<float>{view(problem.out), view(problem.last_state)});
    return problem;
}
std::vector<CudaVersion> stages() { return cuda_versions("selective_scan", ATTN_TEST_DEVICE); }

template <class T>
Tensor<T, 3> tokens_of(const Tensor<T, 3>& tensor, int first, int count) {
    return xt::view(tensor, xt::all(), xt::all(), xt::range(first, first + count));
}
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    return {pick(1, 1, 2), pick(2, 1, 5), seed % 4 ? pick(3, 1, 90) : pick(3, 250, 600),
            seed % 7 ? pick(4, 1, 17) : pick(5, 18, 300)};
}

}  // namespace

TEST_CASE("selective scan: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("selective_scan");
    REQUIRE(cases.size() >= 20);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    CHECK(count([](const Case& c) {
              return c.params.choice("discretization", {"euler", "zoh"}, "euler") == "zoh";
          }) >= 4);
    CHECK(count([](const Case& c) { return c.params.boolean("delta_softplus", false); }) >= 5);
    for (const char* optional : {"d", "z", "delta_bias", "initial_state", "d_out"})
        CHECK(count([&](const Case& c) { return c.inputs.count(optional) > 0; }) >= 4);
}

TEST_CASE("selective scan: naive agrees with mamba's reference in every precision") {
    testing::check_naive_on_golden_cases("selective_scan");
}

TEST_CASE("selective scan: the CUDA stages agree with mamba's reference") {
    testing::check_cuda_on_golden_cases("selective_scan", 3);
}

TEST_CASE("selective scan: sequential, chunked and parallel are one function") {
    // Kills: pairs put together in the wrong order, a carry that is lost between chunks, a short last chunk.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        ScanProblem<double> problem(generated_sizes(seed), 10 * seed + seed);
        problem.continues = seed % 3 == 0, problem.gated = seed % 5 != 0;
        const auto expected = solved(problem, Form::sequential);
        for (int chunk : {0, 1, 2, 7, 32, 1000}) {
            INFO("seed " << seed << ", chunk " << chunk << " (0: parallel)");
            const auto result = chunk ? solved(problem, Form::chunked, chunk) : solved(problem, Form::parallel);
            CHECK(error(result.out, expected.out) <= 1e-11);
            CHECK(error(result.last_state, expected.last_state) <= 1e-11);
        }
    }
}

TEST_CASE("selective scan: Δ = 0 leaves the state, a large Δ forgets it, and z = 0 closes the gate") {
    ScanProblem<double> p({1, 2, 9, 3}, 4);
    p.options.delta_softplus = false, p.continues = true, p.gated = false;
    p.delta.fill(0);
    CHECK(same_bits(solved(p).last_state, p.initial_state));
    p.delta.fill(1000);
    const auto forgotten = solved(p);
    p.initial_state *= 5;
    CHECK(same_bits(solved(p).out, forgotten.out));
    ScanProblem<double> closed({1, 2, 9, 3}, 5);
    closed.z.fill(0);
    for (double x : solved(closed).out) CHECK(x == 0);
}

TEST_CASE("selective scan: with zero-order hold one number of state is a gate, which Euler's step is not") {
    // Mamba, theorem 1: A = -1, B = 1 and Δ = softplus(x) give h = (1 - g) h + g u with g = sigmoid(x).
    for (Discretization rule : {Discretization::zoh, Discretization::euler}) {
        ScanProblem<double> p({1, 1, 30, 1}, 6);
        p.gated = false, p.options.delta_softplus = true, p.options.discretization = rule;
        p.a.fill(-1), p.b.fill(1), p.c.fill(1), p.delta *= 3;
        const auto result = solved(p);
        double h = 0, difference = 0;
        for (int t = 0; t < 30; ++t) {
            const double gate = 1 / (1 + std::exp(-p.delta(0, 0, t)));
            h = (1 - gate) * h + gate * p.u(0, 0, t);
            difference = std::max(difference, std::abs(result.out(0, 0, t) - h));
        }
        if (rule == Discretization::zoh)
            CHECK(difference <= 1e-13);
        else
            CHECK(difference >= 0.1);
    }
}

TEST_CASE("selective scan: in pieces with the state it is the whole, to the bit; later tokens may be NaN") {
    const ScanProblem<double> p({2, 3, 15, 4}, 7);
    const auto all = solved(p);
    auto before = solved(p.tokens(0, 1));
    for (int t = 1; t < 15; ++t) {
        const auto step = solved(p.tokens(t, 1, &before));
        CHECK(same_bits(step.out, tokens_of(all.out, t, 1)));
        before = step;
    }
    CHECK(same_bits(before.last_state, all.last_state));
    for (Form form : {Form::sequential, Form::chunked, Form::parallel}) {
        const auto clean = solved(p, form, 4);
        auto poisoned = p;
        for (auto* tensor : {&poisoned.u, &poisoned.delta, &poisoned.b, &poisoned.c, &poisoned.z})
            xt::view(*tensor, xt::all(), xt::all(), xt::range(6, 15)) = std::nan("");
        CHECK(same_bits(tokens_of(solved(poisoned, form, 4).out, 0, 6), tokens_of(clean.out, 0, 6)));
    }
}

TEST_CASE("selective scan: a small step is not lost in float") {
    // Kills: log(1 + exp(x)), which is 0 in float below -17.
    ScanProblem<float> p({1, 2, 9, 3}, 9);
    p.gated = false, p.delta = p.delta - 22.0f;
    const auto exact = solved(ScanProblem<double>(p));
    CHECK(error(solved(p).out, exact.out) <= 2e-6);
    for (const CudaVersion& version : stages()) CHECK(error(solved(p, version).out, exact.out) <= 2e-6);
}

TEST_CASE("selective scan: gradients equal finite differences") {
    // Kills: a state in gradient that fades by the step of the wrong token, the factor of the zero-order hold taken for
    // a constant, softplus without its derivative, D forgotten in d_u.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        Sizes size = generated_sizes(seed);
        size.L = 1 + size.L % 11, size.S = 1 + size.S % 5;
        ScanProblem<double> p(size, 10 * seed + seed);
        p.continues = seed % 3 == 0, p.gated = seed % 4 != 0, p.options.delta_softplus = seed % 5 != 0;
        if (!p.options.delta_softplus) p.delta = 0.1 * xt::abs(p.delta);
        if (seed % 6 == 0) p.a *= 1e-3;  // where (exp(x) - 1)/x is taken from its series
        auto d_out = p.out;
        fill_normal(view(d_out), seed);
        Inputs<double> in = p.inputs();
        const auto& gradient_of_loss = d_out;
        in.d_out = view(gradient_of_loss);
        const auto loss = [&](const ScanProblem<double>& problem) { return xt::sum(solved(problem).out * d_out)(); };
        auto u = p.u, delta = p.delta, b = p.b, c = p.c, z = p.z, initial_state = p.initial_state;
        auto a = p.a;
        auto d = p.d, delta_bias = p.delta_bias;
        Outputs<double> out;
        out.d_u = view(u), out.d_delta = view(delta), out.d_b = view(b), out.d_c = view(c), out.d_a = view(a);
        if (p.gated) out.d_d = view(d), out.d_z = view(z), out.d_delta_bias = view(delta_bias);
        if (p.continues) out.d_initial_state = view(initial_state);
        naive_backward(in, p.options, out);
        // Along one direction through all elements of a tensor.
        const auto check = [&](const char* name, auto tensor, const auto& gradient) {
            auto direction = p.*tensor;
            fill_normal(view(direction), 7 * seed);
            constexpr double h = 1e-5;
            auto more = p, less = p;
            more.*tensor += h * direction, less.*tensor -= h * direction;
            const double expected = (loss(more) - loss(less)) / (2 * h), found = xt::sum(gradient * direction)();
            INFO("seed " << seed << ", " << name << ": " << found << ", by finite differences " << expected);
            CHECK(std::abs(found - expected) <= 1e-7 * std::max(1.0, std::abs(expected)));
        };
        check("u", &ScanProblem<double>::u, u), check("delta", &ScanProblem<double>::delta, delta);
        check("a", &ScanProblem<double>::a, a), check("b", &ScanProblem<double>::b, b);
        check("c", &ScanProblem<double>::c, c);
        if (p.gated) check("d", &ScanProblem<double>::d, d), check("z", &ScanProblem<double>::z, z);
        if (p.gated) check("delta_bias", &ScanProblem<double>::delta_bias, delta_bias);
        if (p.continues) check("initial_state", &ScanProblem<double>::initial_state, initial_state);
    }
}

TEST_CASE("selective scan: costs by formula equal the counts, in every form") {
    for (std::uint64_t seed = 1; seed <= 16; ++seed)
        for (const char* form : {"sequential", "parallel", "chunked"}) {
            const Sizes s = generated_sizes(seed);
            Case input = random_case("selective_scan", s.L,
                                     {{"u", {s.B, s.D, s.L}},
                                      {"delta", {s.B, s.D, s.L}},
                                      {"a", {s.D, s.S}},
                                      {"b", {s.B, s.S, s.L}},
                                      {"c", {s.B, s.S, s.L}}});
            if (seed % 2) input.inputs["d"] = random_array({s.D}, 1);
            if (seed % 3) input.inputs["z"] = random_array({s.B, s.D, s.L}, 2);
            if (seed % 5) input.inputs["delta_bias"] = random_array({s.D}, 3);
            input.params = Params::parse(
                fmt::format(R"({{"form": "{}", "chunk": {}, "delta_softplus": {}, "discretization": "{}"}})", form,
                            1 + seed % 40, seed % 4 < 2, seed % 2 ? "zoh" : "euler"),
                "generated");
            const Mechanism& mechanism = *find_mechanism("selective_scan");
            INFO("seed " << seed << " " << form);
            CHECK(mechanism.counted_costs(input) == mechanism.predicted_costs(input));
        }
}

TEST_CASE("selective scan, on the device: every stage equals double, from any state on") {
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
        ScanProblem<float> problem(generated_sizes(seed), 10 * seed + seed);
        problem.continues = seed % 3 == 0, problem.gated = seed % 5 != 0;
        const auto exact = solved(ScanProblem<double>(problem));
        for (const CudaVersion& version : stages()) {
            const auto result = solved(problem, version);
            INFO("seed " << seed << " " << version.name << " L" << problem.size.L << " S" << problem.size.S);
            CHECK(error(result.out, exact.out) <= 3e-6);
            CHECK(error(result.last_state, exact.last_state) <= 3e-6);
        }
    }
}

TEST_CASE("selective scan, on the device: a token has the same bits in a prefix and among all; later ones may be NaN") {
    for (const CudaVersion& version : stages()) {
        const ScanProblem<float> problem({1, 3, 600, 5}, 5);
        const auto all = solved(problem, version);
        for (int count : {1, 31, 32, 255, 256, 257, 599}) {
            INFO(version.name << ", the first " << count);
            CHECK(same_bits(solved(problem.tokens(0, count), version).out, tokens_of(all.out, 0, count)));
            auto poisoned = problem;
            for (auto* tensor : {&poisoned.u, &poisoned.delta, &poisoned.b, &poisoned.c, &poisoned.z})
                xt::view(*tensor, xt::all(), xt::all(), xt::range(count, 600)) = std::nanf("");
            CHECK(same_bits(tokens_of(solved(poisoned, version).out, 0, count), tokens_of(all.out, 0, count)));
        }
    }
}
