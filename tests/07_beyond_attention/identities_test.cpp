// What the recurrences of this chapter have in common with each other and with the attention of others: one mechanism
// is another, for some of its inputs. Beside each property stands the wrong answer that it kills.
#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/02_linear/linear_attention/linear_attention_naive.hpp"
#include "chapters/07_beyond_attention/retention/retention_naive.hpp"
#include "chapters/07_beyond_attention/rwkv/rwkv_naive.hpp"
#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using testing::error, testing::same_bits;

namespace {

Tensor<double, 4> random_tensor(Shape<4> shape, std::uint64_t seed) {
    auto tensor = make_tensor<double, 4>(shape);
    fill_normal(view(tensor), seed);
    return tensor;
}
Tensor<double, 3> random_tensor(Shape<3> shape, std::uint64_t seed) {
    auto tensor = make_tensor<double, 3>(shape);
    fill_normal(view(tensor), seed);
    return tensor;
}

// Queries, keys and values, with a γ for each head.
struct Sequence {
    retention::Sizes size;
    Tensor<double, 4> q, k, v;
    Tensor<double, 1> decay;

    explicit Sequence(std::uint64_t seed) {
        auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
        size = {pick(1, 1, 2), pick(2, 1, 3), pick(3, 1, 80), pick(4, 1, 20), pick(5, 1, 20)};
        q = random_tensor({size.B, size.H, size.N, size.D}, 10 * seed);
        k = random_tensor({size.B, size.H, size.N, size.D}, 10 * seed + 1);
        v = random_tensor({size.B, size.H, size.N, size.Dv}, 10 * seed + 2);
        decay = make_tensor<double, 1>({{size.H}});
        for (int h = 0; h < size.H; ++h) decay(h) = 0.5 + 0.5 * random_uniform(seed, 100 + h);
    }
};

struct Result {
    Tensor<double, 4> out, state;  // [B, H, N, Dv], [B, H, D, Dv]
};
Result nan_result(const retention::Sizes& s) {
    return {make_tensor<double, 4>({s.B, s.H, s.N, s.Dv}, std::nan("")),
            make_tensor<double, 4>({s.B, s.H, s.D, s.Dv}, std::nan(""))};
}

Result retained(const Sequence& s, retention::Options options) {
    Result result = nan_result(s.size);
    retention::naive(retention::Inputs<double>{view(s.q), view(s.k), view(s.v), view(s.decay), {}}, options,
                     retention::Outputs<double>{view(result.out), view(result.state)});
    return result;
}

// Linear attention without features and without a denominator.
Result summed(const Sequence& s, linear_attention::Form form = linear_attention::Form::recurrent, int chunk = 32) {
    Result result = nan_result(s.size);
    auto normalizer = make_tensor<double, 3>({s.size.B, s.size.H, s.size.D});
    linear_attention::Inputs<double> in;
    in.q = view(s.q), in.k = view(s.k), in.v = view(s.v);
    linear_attention::Outputs<double> out;
    out.out = view(result.out), out.state = view(result.state), out.normalizer = view(normalizer);
    linear_attention::Options options;
    options.feature_map = linear_attention::FeatureMap::identity;
    options.causal = true, options.normalize = false, options.form = form, options.chunk = chunk;
    linear_attention::naive_forward(in, options, out);
    return result;
}

// The selective scan with a channel for each number of a value, C = q and B = k, head by head; Δ is the same for all
// tokens and channels, and log_fading, what a state's logarithm loses at each token, for all channels of a head.
Result scanned(const Sequence& s, double delta, const Tensor<double, 1>& log_fading,
               selective_scan::Options options = {}) {
    const auto& [B, H, N, D, Dv] = s.size;
    Result result = nan_result(s.size);
    for (int h = 0; h < H; ++h) {
        auto u = make_tensor<double, 3>({B, Dv, N}), steps = u, out = u;
        auto b = make_tensor<double, 3>({B, D, N}), c = b, state = make_tensor<double, 3>({B, Dv, D});
        auto a = make_tensor<double, 2>({Dv, D}, log_fading(h) / delta);
        steps.fill(delta);
        for (int batch = 0; batch < B; ++batch)
            for (int n = 0; n < N; ++n) {
                for (int d = 0; d < Dv; ++d) u(batch, d, n) = s.v(batch, h, n, d) / delta;
                for (int m = 0; m < D; ++m) b(batch, m, n) = s.k(batch, h, n, m), c(batch, m, n) = s.q(batch, h, n, m);
            }
        selective_scan::Inputs<double> in;
        const auto &inputs = u, &step_sizes = steps, &into = b, &from = c;
        const auto& fading = a;
        in.u = view(inputs), in.delta = view(step_sizes), in.a = view(fading), in.b = view(into), in.c = view(from);
        selective_scan::naive(in, options, selective_scan::Outputs<double>{view(out), view(state)});
        for (int batch = 0; batch < B; ++batch)
            for (int d = 0; d < Dv; ++d) {
                for (int n = 0; n < N; ++n) result.out(batch, h, n, d) = out(batch, d, n);
                for (int m = 0; m < D; ++m) result.state(batch, h, m, d) = state(batch, d, m);
            }
    }
    return result;
}

// The recurrence of RWKV's version 5, in which a state of D × Dv numbers has taken the place of version 4's mean (Peng
// et al. 2024, arXiv 2404.05892, section 4.1): what the token itself adds has a bonus u, and is not in the state yet.
Tensor<double, 4> rwkv5(const Sequence& s, const Tensor<double, 1>& w, const Tensor<double, 1>& u) {
    const auto& [B, H, N, D, Dv] = s.size;
    auto y = make_tensor<double, 4>({B, H, N, Dv});
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            xt::xtensor<double, 2> state = xt::zeros<double>({D, Dv});
            for (int n = 0; n < N; ++n)
                for (int d = 0; d < Dv; ++d)
                    for (int m = 0; m < D; ++m) {
                        const double own = s.k(b, h, n, m) * s.v(b, h, n, d);
                        y(b, h, n, d) += s.q(b, h, n, m) * (state(m, d) + u(h) * own);
                        state(m, d) = w(h) * state(m, d) + own;
                    }
        }
    return y;
}

// Keys and values of channels, for RWKV.
struct Channels {
    rwkv::Sizes size;
    Tensor<double, 3> key, value, out, state;
    Tensor<double, 1> w, u;

    explicit Channels(std::uint64_t seed) {
        auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
        size = {pick(1, 1, 2), pick(2, 1, 80), pick(3, 1, 12)};
        key = random_tensor(Shape<3>{size.B, size.L, size.D}, 10 * seed);
        value = random_tensor(Shape<3>{size.B, size.L, size.D}, 10 * seed + 1);
        w = make_tensor<double, 1>({{size.D}}), u = w;
    }
    void solve(rwkv::Options options = {}) {
        out = make_tensor<double, 3>({size.B, size.L, size.D}, std::nan(""));
        state = make_tensor<double, 3>({size.B, 3, size.D}, std::nan(""));
        const auto &keys = key, &values = value;
        const auto &decay = w, &bonus = u;
        rwkv::naive(rwkv::Inputs<double>{view(decay), view(bonus), view(keys), view(values)}, options,
                    rwkv::Outputs<double>{view(out), view(state)});
    }
};

}  // namespace

TEST_CASE("identities: retention with γ = 1 is linear attention without features and denominator") {
    // Kills: a fading where γ is 1; a normalizer.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Sequence s(seed);
        s.decay.fill(1);
        const Result expected = summed(s), found = retained(s, {1, retention::Form::recurrent});
        CHECK(error(found.out, expected.out) <= 1e-13);
        CHECK(error(found.state, expected.state) <= 1e-13);
    }
}

TEST_CASE("identities: the selective scan with A = 0 is linear attention with q = C, k = B and v = Δ u") {
    // Kills: a step that is left out where nothing fades; zero-order hold without its limit, 0/0.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const Sequence s(seed);
        const Tensor<double, 1> nothing = make_tensor<double, 1>({{s.size.H}});
        const Result expected = summed(s);
        for (auto rule : {selective_scan::Discretization::euler, selective_scan::Discretization::zoh}) {
            selective_scan::Options options;
            options.discretization = rule;
            const Result found = scanned(s, 0.1 + random_uniform(seed, 200), nothing, options);
            CHECK(error(found.out, expected.out) <= 1e-13);
            CHECK(error(found.state, expected.state) <= 1e-13);
        }
    }
}

TEST_CASE("identities: retention is the selective scan with one A = log(γ)/Δ for a whole head, and one Δ for all") {
    // Kills: a token that fades at once, or a state that fades one step later.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const Sequence s(seed);
        Tensor<double, 1> log_fading = s.decay;
        for (int h = 0; h < s.size.H; ++h) log_fading(h) = std::log(s.decay(h));
        const Result expected = retained(s, {1, retention::Form::parallel});
        for (auto form : {selective_scan::Form::sequential, selective_scan::Form::parallel}) {
            selective_scan::Options options;
            options.form = form;
            const Result found = scanned(s, 0.1 + random_uniform(seed, 200), log_fading, options);
            CHECK(error(found.out, expected.out) <= 1e-12);
            CHECK(error(found.state, expected.state) <= 1e-12);
        }
    }
}

TEST_CASE("identities: RWKV-4 with w = u = 0 is softmax attention whose scores are the keys, whatever the query") {
    // Kills: a bonus or a fading where there is none; a channel that reads another's key.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Channels mean(seed);
        mean.solve();
        // Each channel a head with queries of 1 and keys and values of one number.
        const auto& [B, L, D] = mean.size;
        auto q = make_tensor<double, 4>({B, D, L, 1}, 1), k = q, v = q, out = q;
        auto log_sum_exp = make_tensor<double, 3>({B, D, L});
        for (int b = 0; b < B; ++b)
            for (int d = 0; d < D; ++d)
                for (int t = 0; t < L; ++t) k(b, d, t, 0) = mean.key(b, t, d), v(b, d, t, 0) = mean.value(b, t, d);
        dense::Inputs<double> in;
        const auto &queries = q, &keys = k, &values = v;
        in.q = view(queries), in.k = view(keys), in.v = view(values);
        dense::Outputs<double> outputs;
        outputs.out = view(out), outputs.log_sum_exp = view(log_sum_exp);
        dense::naive(in, {.causal = true, .scale = 1}, outputs);
        for (int b = 0; b < B; ++b)
            for (int d = 0; d < D; ++d) {
                for (int t = 0; t < L; ++t) REQUIRE(std::abs(mean.out(b, t, d) - out(b, d, t, 0)) <= 1e-13);
                // The state is the softmax of the last row: its denominator, with the exponent, the log-sum-exp.
                const double in_state = std::log(mean.state(b, 1, d)) + mean.state(b, 2, d);
                CHECK(std::abs(in_state - log_sum_exp(b, d, L - 1)) <= 1e-13);
            }
    }
}

TEST_CASE("identities: RWKV-5 with w = γ and u = 1/γ, times γ, is retention; with w = u = 1 it is linear attention") {
    // Kills: a token that is read before it is in the state, or that fades in its own row.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const Sequence s(seed);
        Tensor<double, 1> bonus = s.decay, ones = s.decay;
        for (int h = 0; h < s.size.H; ++h) bonus(h) = 1 / s.decay(h);
        ones.fill(1);
        Tensor<double, 4> found = rwkv5(s, s.decay, bonus);
        for (int b = 0; b < s.size.B; ++b)
            for (int h = 0; h < s.size.H; ++h)
                for (int n = 0; n < s.size.N; ++n)
                    for (int d = 0; d < s.size.Dv; ++d) found(b, h, n, d) *= s.decay(h);
        CHECK(error(found, retained(s, {1, retention::Form::recurrent}).out) <= 1e-12);
        CHECK(error(rwkv5(s, ones, ones), summed(s).out) <= 1e-12);
    }
}

TEST_CASE("identities: in chunks of one token each is its recurrence; in one chunk, its parallel form to the bit") {
    // Kills: a chunk length that is taken modulo, or beyond the end; in chunks of one, a pair or a state counted twice.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        INFO("seed " << seed);
        const Sequence s(seed);
        const int N = s.size.N;
        {
            using retention::Form;
            const Result recurrent = retained(s, {1, Form::recurrent}), parallel = retained(s, {1, Form::parallel});
            const Result ones = retained(s, {1, Form::chunked, 1});
            CHECK(error(ones.out, recurrent.out) <= 1e-13);
            CHECK(error(ones.state, recurrent.state) <= 1e-13);
            for (int chunk : {N, N + 1, 2147483647}) {
                const Result all = retained(s, {1, Form::chunked, chunk});
                CHECK((same_bits(all.out, parallel.out) && same_bits(all.state, parallel.state)));
            }
        }
        {
            using linear_attention::Form;
            const Result recurrent = summed(s), quadratic = summed(s, Form::quadratic);
            const Result ones = summed(s, Form::chunked, 1);
            CHECK(error(ones.out, recurrent.out) <= 1e-13);
            CHECK(error(ones.state, recurrent.state) <= 1e-13);
            for (int chunk : {N, N + 1, 2147483647})
                CHECK(error(summed(s, Form::chunked, chunk).out, quadratic.out) <= 1e-13);
        }
        {
            using selective_scan::Form;
            auto solved = [&](Form form, int chunk) {
                selective_scan::Options options;
                options.form = form, options.chunk = chunk;
                return scanned(s, 0.5, -1 * s.decay, options);
            };
            const Result recurrent = solved(Form::sequential, 32), parallel = solved(Form::parallel, 32);
            const Result ones = solved(Form::chunked, 1);
            CHECK(error(ones.out, recurrent.out) <= 1e-13);
            CHECK(error(ones.state, recurrent.state) <= 1e-13);
            for (int chunk : {N, N + 1, 2147483647}) {
                const Result all = solved(Form::chunked, chunk);
                CHECK((same_bits(all.out, parallel.out) && same_bits(all.state, parallel.state)));
            }
        }
        {
            using rwkv::Form;
            Channels recurrent(seed);
            fill_normal(view(recurrent.u), seed), recurrent.w.fill(0.3);
            Channels parallel = recurrent, ones = recurrent, all = recurrent;
            recurrent.solve(), parallel.solve({Form::parallel}), ones.solve({Form::chunked, 1});
            CHECK(error(ones.out, recurrent.out) <= 1e-13);
            CHECK(error(ones.state, recurrent.state) <= 1e-13);
            for (int chunk : {recurrent.size.L, recurrent.size.L + 1, 2147483647}) {
                all.solve({Form::chunked, chunk});
                CHECK((same_bits(all.out, parallel.out) && same_bits(all.state, parallel.state)));
            }
        }
    }
}
