// What must hold of latent attention whatever the sizes, on generated problems. Beside each property stands the wrong
// answer that it kills.
#include <cstring>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/04_head_sharing/latent/latent_naive.hpp"
#include "common/mechanism/mechanism.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::latent;
using testing::relative_error;

namespace {

// A problem that owns its tensors, in T.
template <class T>
struct Problem {
    Sizes size;
    Options options;
    Tensor<T, 3> hidden, out, cache;
    Tensor<T, 2> w_dq, w_uq, w_q, w_dkv, w_ukv, w_o;
    Tensor<T, 1> norm_q, norm_kv;

    // Weights are such that every product stays close to standard normal. `with` without its sizes.
    Problem(Sizes sizes, Options with, std::uint64_t seed) : size(sizes), options(with) {
        options.heads = size.H, options.nope_dim = size.Dn, options.rope_dim = size.Dr, options.value_dim = size.Dv;
        std::uint64_t stream = 100 * seed;
        auto weights = [&](int rows, int columns) {
            auto w = make_tensor<T, 2>({rows, columns});
            fill_normal(view(w), ++stream, 1 / std::sqrt(columns));
            return w;
        };
        auto norm = [&](int length) {
            auto w = make_tensor<T, 1>({{length}});
            fill_normal(view(w), ++stream, 0.25);
            for (T& value : w) value = static_cast<T>(1 + static_cast<double>(value));
            return w;
        };
        hidden = make_tensor<T, 3>({size.B, size.N, size.Dm});
        fill_normal(view(hidden), ++stream);
        const int query_rows = size.H * (size.Dn + size.Dr);
        if (size.Rq > 0)
            w_dq = weights(size.Rq, size.Dm), norm_q = norm(size.Rq), w_uq = weights(query_rows, size.Rq);
        else
            w_q = weights(query_rows, size.Dm);
        w_dkv = weights(size.Rkv + size.Dr, size.Dm), norm_kv = norm(size.Rkv);
        w_ukv = weights(size.H * (size.Dn + size.Dv), size.Rkv), w_o = weights(size.Dm, size.H * size.Dv);
        clear();
    }
    void clear() {
        const T poison = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 3>({size.B, size.N, size.Dm}, poison);
        cache = make_tensor<T, 3>({size.B, size.N, size.Rkv + size.Dr}, poison);
    }
    Inputs<T> inputs() const {
        Inputs<T> in;
        in.hidden = view(hidden);
        if (size.Rq > 0)
            in.w_dq = view(w_dq), in.norm_q = view(norm_q), in.w_uq = view(w_uq);
        else
            in.w_q = view(w_q);
        in.w_dkv = view(w_dkv), in.norm_kv = view(norm_kv), in.w_ukv = view(w_ukv), in.w_o = view(w_o);
        return in;
    }
    Outputs<T> outputs() { return {view(out), view(cache)}; }
    void solve() {
        clear();
        naive(inputs(), options, outputs());
    }

    // Rows of the weights of one head.
    int query_row(int h) const { return h * (size.Dn + size.Dr); }  // Dn of nope, then Dr of rope
    int key_row(int h) const { return h * (size.Dn + size.Dv); }    // of w_ukv, Dn
    int value_row(int h) const { return key_row(h) + size.Dn; }     // Dv
};

Options with_form(Form form, int prefill = 0) {
    Options options;
    options.form = form, options.prefill = prefill;
    return options;
}

// Ragged sizes, from the seed: queries compressed or direct (every third seed), now and then one head, one latent
// number, or a latent wider than all heads.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    Sizes size{pick(0, 1, 2),  pick(1, 1, 20), pick(2, 1, 12),    pick(3, 1, 4), seed % 3 == 0 ? 0 : pick(4, 1, 9),
               pick(5, 1, 11), pick(6, 1, 6),  2 * pick(7, 1, 5), pick(8, 1, 9)};
    if (seed % 5 == 0) size.H = 1;
    if (seed % 7 == 0) size.Rkv = 1;
    if (seed % 11 == 0) size.Rkv = size.H * size.Dn + 3;
    return size;
}
constexpr int generated = 44;  // seeds that meet all of these

Options generated_options(std::uint64_t seed, Form form) {
    Options options = with_form(form);
    options.rope_layout = seed % 2 == 0 ? RopeLayout::half_split : RopeLayout::interleaved;
    options.rope_theta = seed % 4 == 0 ? 10000 : 20;
    options.norm_epsilon = seed % 3 == 0 ? 0.1 : 1e-6;
    options.scale = 0.3 + 0.1 * static_cast<double>(seed % 6);
    return options;
}

std::string text(const Sizes& s, std::uint64_t seed) {
    return "seed " + std::to_string(seed) + ": B" + std::to_string(s.B) + " N" + std::to_string(s.N) + " Dm" +
           std::to_string(s.Dm) + " H" + std::to_string(s.H) + " Rq" + std::to_string(s.Rq) + " Rkv" +
           std::to_string(s.Rkv) + " Dn" + std::to_string(s.Dn) + " Dr" + std::to_string(s.Dr) + " Dv" +
           std::to_string(s.Dv);
}

template <class T, int N>
bool same_bits(TensorView<T, N> a, TensorView<T, N> b) {
    return a.shape() == b.shape() &&
           std::memcmp(a.data(), b.data(), sizeof(T) * static_cast<std::size_t>(a.count())) == 0;
}

template <class T, std::size_t N>
bool same_bits(const xt::xtensor<T, N>& a, const xt::xtensor<T, N>& b) {
    return same_bits(view(a), view(b));
}

bool all_finite(const Tensor<double, 3>& x) {
    return std::all_of(x.begin(), x.end(), [](double value) { return std::isfinite(value); });
}

template <std::size_t N>
double error(const xt::xtensor<double, N>& a, const xt::xtensor<double, N>& b) {
    return relative_error(view(a), view(b));
}

// How many rows of the matrix are independent: elimination with full pivots, until what is left is below `tolerance`.
int rank(Tensor<double, 2> a, double tolerance) {
    const int rows = static_cast<int>(a.shape()[0]), columns = static_cast<int>(a.shape()[1]);
    int found = 0;
    for (; found < std::min(rows, columns); ++found) {
        int row = found, column = found;
        for (int i = found; i < rows; ++i)
            for (int j = found; j < columns; ++j)
                if (std::abs(a(i, j)) > std::abs(a(row, column))) row = i, column = j;
        if (std::abs(a(row, column)) <= tolerance) break;
        for (int j = 0; j < columns; ++j) std::swap(a(found, j), a(row, j));
        for (int i = 0; i < rows; ++i) std::swap(a(i, found), a(i, column));
        for (int i = found + 1; i < rows; ++i) {
            const double factor = a(i, found) / a(found, found);
            for (int j = found; j < columns; ++j) a(i, j) -= factor * a(found, j);
        }
    }
    return found;
}

// ---- the same once more, in another style: whole matrices, and pairs that RoPE turns as complex numbers
// ---------------

using Matrix = xt::xarray<double>;

Matrix product_transposed(const Matrix& a, const Matrix& b) {  // a bᵀ
    return xt::sum(xt::view(a, xt::all(), xt::newaxis(), xt::all()) * xt::view(b, xt::newaxis(), xt::all(), xt::all()),
                   {2});
}

Matrix normalised(const Matrix& x, const Matrix& weight, double epsilon) {  // the rows of x
    Matrix mean_squares = xt::mean(x * x, {1});
    return x * weight * xt::view(xt::pow(mean_squares + epsilon, -0.5), xt::all(), xt::newaxis());
}

Matrix rotated(Matrix x, const Options& options) {  // row i by position i
    const int N = static_cast<int>(x.shape()[0]), pairs = static_cast<int>(x.shape()[1]) / 2;
    const bool halves = options.rope_layout == RopeLayout::half_split;
    for (int i = 0; i < N; ++i)
        for (int pair = 0; pair < pairs; ++pair) {
            double& real = x(i, halves ? pair : 2 * pair);
            double& imaginary = x(i, halves ? pairs + pair : 2 * pair + 1);
            const double frequency = std::exp(-std::log(options.rope_theta) * pair / pairs);
            const auto turned = std::complex<double>(real, imaginary) * std::polar(1.0, i * frequency);
            real = turned.real(), imaginary = turned.imag();
        }
    return x;
}

struct Oracle {
    Matrix out, cache;  // of one sequence
};

Oracle oracle(const Problem<double>& p, int b) {
    const auto [B, N, Dm, H, Rq, Rkv, Dn, Dr, Dv] = p.size;
    const Matrix x = xt::view(p.hidden, b, xt::all(), xt::all());
    const Matrix down = product_transposed(x, p.w_dkv);
    const Matrix c = normalised(xt::view(down, xt::all(), xt::range(0, Rkv)), p.norm_kv, p.options.norm_epsilon);
    const Matrix k_rope = rotated(xt::view(down, xt::all(), xt::range(Rkv, Rkv + Dr)), p.options);
    const Matrix q =
        Rq > 0 ? product_transposed(normalised(product_transposed(x, p.w_dq), p.norm_q, p.options.norm_epsilon), p.w_uq)
               : product_transposed(x, p.w_q);
    const Matrix keys_values = product_transposed(c, p.w_ukv);

    Matrix concatenated = xt::zeros<double>({N, H * Dv});
    for (int h = 0; h < H; ++h) {
        const int q0 = h * (Dn + Dr), k0 = h * (Dn + Dv);
        const Matrix q_nope = xt::view(q, xt::all(), xt::range(q0, q0 + Dn));
        const Matrix q_rope = rotated(xt::view(q, xt::all(), xt::range(q0 + Dn, q0 + Dn + Dr)), p.options);
        const Matrix k_nope = xt::view(keys_values, xt::all(), xt::range(k0, k0 + Dn));
        const Matrix v = xt::view(keys_values, xt::all(), xt::range(k0 + Dn, k0 + Dn + Dv));
        // exp without a maximum: scores are small here; then hidden keys become 0
        const Matrix future = xt::view(xt::arange<double>(N), xt::newaxis(), xt::all()) >
                              xt::view(xt::arange<double>(N), xt::all(), xt::newaxis());
        Matrix weights =
            (1 - future) *
            xt::exp(p.options.scale * (product_transposed(q_nope, k_nope) + product_transposed(q_rope, k_rope)));
        const Matrix sums = xt::sum(weights, {1});
        weights /= xt::view(sums, xt::all(), xt::newaxis());
        xt::view(concatenated, xt::all(), xt::range(h * Dv, (h + 1) * Dv)) =
            product_transposed(weights, xt::transpose(v));
    }
    return {product_transposed(concatenated, p.w_o), xt::concatenate(xt::xtuple(c, k_rope), 1)};
}

double relative(const Matrix& found, const Matrix& expected) {
    const Matrix difference = found - expected;
    return std::sqrt(xt::sum(difference * difference)() / xt::sum(expected * expected)());
}

}  // namespace

TEST_CASE("latent: generated problems are of every kind") {
    int one_head = 0, one_latent = 0, wide_latent = 0, direct = 0, one_position = 0;
    for (std::uint64_t seed = 1; seed <= generated; ++seed) {
        Sizes s = generated_sizes(seed);
        one_head += s.H == 1, one_latent += s.Rkv == 1, wide_latent += s.Rkv > s.H * s.Dn;
        direct += s.Rq == 0, one_position += s.N == 1;
        CHECK(s.Dr % 2 == 0);
    }
    CHECK(one_head >= 3);
    CHECK(one_latent >= 3);
    CHECK(wide_latent >= 3);
    CHECK(direct >= 3);
    CHECK(one_position >= 1);
}

TEST_CASE("latent: both forms equal an independent formula in xtensor") {
    // Kills: an error that both forms share: a norm over [latent; rope], a rotation of the nope part, a mask of i < j.
    for (std::uint64_t seed = 1; seed <= generated; ++seed)
        for (Form form : {Form::expanded, Form::absorbed}) {
            Problem<double> p(generated_sizes(seed), generated_options(seed, form), seed);
            p.solve();
            INFO(text(p.size, seed));
            for (int b = 0; b < p.size.B; ++b) {
                const Oracle expected = oracle(p, b);
                CHECK(relative(xt::view(p.out, b, xt::all(), xt::all()), expected.out) <= 1e-12);
                CHECK(relative(xt::view(p.cache, b, xt::all(), xt::all()), expected.cache) <= 1e-12);
            }
        }
}

TEST_CASE("latent: absorbed equals expanded") {
    // Kills, in the absorbed form: scale 1/sqrt(Rkv+Dr), W_UK and W_UV exchanged, the rotated key in the value.
    for (std::uint64_t seed = 1; seed <= generated; ++seed) {
        Problem<double> expanded(generated_sizes(seed), generated_options(seed, Form::expanded), seed),
            absorbed(expanded.size, generated_options(seed, Form::absorbed), seed);
        expanded.solve(), absorbed.solve();
        INFO(text(expanded.size, seed));
        REQUIRE(all_finite(expanded.out));
        CHECK(error(absorbed.out, expanded.out) <= 1e-12);
        CHECK(same_bits(absorbed.cache, expanded.cache));  // what is kept does not depend on the form
    }
}

TEMPLATE_TEST_CASE("latent: token by token equals all at once, bit by bit, after any prefill", "", double, float,
                   bfloat16) {
    // Kills: a position that begins at 0 again, a row read before it is written (it is NaN), a cache row that is more
    // exact while it is new than when it is read again.
    for (std::uint64_t seed = 1; seed <= generated; seed += 3)
        for (Form form : {Form::expanded, Form::absorbed}) {
            Problem<TestType> whole(generated_sizes(seed), generated_options(seed, form), seed), steps = whole;
            whole.solve();
            for (int prefill = 1; prefill <= whole.size.N; ++prefill) {
                steps.options.prefill = prefill;
                steps.solve();
                INFO(text(whole.size, seed) << ", prefill " << prefill);
                REQUIRE(same_bits(steps.out, whole.out));
                REQUIRE(same_bits(steps.cache, whole.cache));
            }
        }
}

TEST_CASE("latent: a prefix has the same bits, computed alone or as part of more") {
    // Kills: anything that lets a later token change an earlier one.
    for (Form form : {Form::expanded, Form::absorbed})
        for (int prefix : {1, 4, 8}) {
            Problem<double> whole({1, 9, 6, 2, 0, 5, 3, 4, 2}, with_form(form), 3), part = whole;
            part.size.N = prefix;
            part.hidden = xt::view(whole.hidden, xt::all(), xt::range(0, prefix), xt::all());
            whole.solve(), part.solve();
            const Tensor<double, 3> out = xt::view(whole.out, xt::all(), xt::range(0, prefix), xt::all());
            CHECK(same_bits(part.out, out));
        }
}

TEST_CASE("latent: grouped-query attention is a special case") {
    // The latent is [keys of G heads; values of G heads], and W_UK and W_UV select: head h the group h / (H/G). Without
    // rotated queries this is grouped-query attention over what the cache holds. Kills: rows of w_ukv as [value; key],
    // all keys before all values, W_UK not transposed in the absorbed form, heads that share one W_UKV.
    constexpr int N = 7, Dm = 30, H = 6, Dn = 3, Dv = 5;
    for (Form form : {Form::expanded, Form::absorbed})
        for (int G : {1, 2, 3, 6}) {
            const int Rkv = G * (Dn + Dv);
            Problem<double> p({2, N, Dm, H, 0, Rkv, Dn, 2, Dv}, with_form(form), 40 + static_cast<std::uint64_t>(G));
            p.options.scale = 0.8;
            p.w_ukv.fill(0), p.w_o.fill(0);
            for (int h = 0; h < H; ++h) {
                const int g = h / (H / G);
                for (int d = 0; d < Dn; ++d) p.w_ukv(p.key_row(h) + d, g * Dn + d) = 1;
                for (int d = 0; d < Dv; ++d) p.w_ukv(p.value_row(h) + d, G * Dn + g * Dv + d) = 1;
                for (int d = 0; d < 2; ++d) xt::view(p.w_q, p.query_row(h) + Dn + d, xt::all()) = 0;
            }
            for (int d = 0; d < Dm; ++d) p.w_o(d, d) = 1;  // H·Dv = Dm: out is the heads, one after the other
            p.solve();

            auto q = make_tensor<double, 4>({2, H, N, Dn}), k = make_tensor<double, 4>({2, G, N, Dn}),
                 v = make_tensor<double, 4>({2, G, N, Dv}), out = make_tensor<double, 4>({2, H, N, Dv});
            auto log_sum_exp = make_tensor<double, 3>({2, H, N});
            for (int b = 0; b < 2; ++b)
                for (int i = 0; i < N; ++i) {
                    for (int h = 0; h < H; ++h)
                        for (int d = 0; d < Dn; ++d)
                            q(b, h, i, d) = xt::sum(xt::view(p.w_q, p.query_row(h) + d, xt::all()) *
                                                    xt::view(p.hidden, b, i, xt::all()))();
                    for (int g = 0; g < G; ++g) {
                        for (int d = 0; d < Dn; ++d) k(b, g, i, d) = p.cache(b, i, g * Dn + d);
                        for (int d = 0; d < Dv; ++d) v(b, g, i, d) = p.cache(b, i, G * Dn + g * Dv + d);
                    }
                }
            dense::Inputs<double> in{view(std::as_const(q)), view(std::as_const(k)), view(std::as_const(v)), {}};
            dense::naive_forward(in, {true, 0.8}, dense::Outputs<double>{view(out), view(log_sum_exp), {}, {}, {}});
            auto heads = make_tensor<double, 3>({2, N, Dm});
            for (int b = 0; b < 2; ++b)
                for (int i = 0; i < N; ++i)
                    for (int h = 0; h < H; ++h)
                        for (int d = 0; d < Dv; ++d) heads(b, i, h * Dv + d) = out(b, h, i, d);
            INFO("G = " << G);
            CHECK(error(p.out, heads) <= 1e-12);
        }
}

TEST_CASE("latent: the keys of all heads have no higher rank than the latent") {
    // The keys show in the weights. Two positions: log(weight of the first / weight of the second) of head h is its
    // query times the difference of its keys. The second token is the same in all sequences, the first one differs:
    // what the heads see over the sequences is a matrix [B, H] of rank Rkv. Kills: keys that do not come out of the
    // latent alone (from hidden, or with a bias of their own for each position), which would give rank H.
    constexpr int B = 8, H = 6, Rkv = 3;
    for (Form form : {Form::expanded, Form::absorbed}) {
        Problem<double> p({B, 2, H, H, 0, Rkv, 4, 2, 1}, with_form(form), 50);
        p.options.scale = 0.7;
        for (int b = 1; b < B; ++b) xt::view(p.hidden, b, 1, xt::all()) = xt::view(p.hidden, 0, 1, xt::all());
        p.w_o.fill(0);
        for (int h = 0; h < H; ++h) {
            xt::view(p.w_q, xt::range(p.query_row(h) + 4, p.query_row(h) + 6), xt::all()) = 0;  // no rotated query
            xt::view(p.w_ukv, p.value_row(h), xt::all()) = 0;
            p.w_ukv(p.value_row(h), 0) = 1;  // the value of every head is the first number of the latent,
            p.w_o(h, h) = 1;                 // and comes out as it is
        }
        p.solve();
        auto seen = make_tensor<double, 2>({B, H});
        for (int b = 0; b < B; ++b)
            for (int h = 0; h < H; ++h) {
                const double first = p.cache(b, 0, 0), second = p.cache(b, 1, 0);
                const double weight = (p.out(b, 1, h) - second) / (first - second);
                REQUIRE(weight > 0);
                REQUIRE(weight < 1);
                seen(b, h) = std::log(weight / (1 - weight));
            }
        CHECK(rank(seen, 1e-10) == Rkv);
        auto independent = make_tensor<double, 2>({B, H});
        fill_normal(view(independent), 51);
        CHECK(rank(independent, 1e-10) == H);  // the measure sees a full rank where there is one
    }
}

TEST_CASE("latent: an equal shift of all positions changes no output") {
    // Tokens are put in front that no query gives any weight: their last latent number is not 0, it is the last number
    // of their keys, and the query multiplies it by -1e5, so that their exponentials are 0. The others are then the
    // same tokens at later positions. Kills: a rotation of only the query or only the key, positions that count from
    // the last prefill, keys kept unrotated.
    constexpr int N = 6, Dm = 7, H = 2, Rkv = 5, Dn = 4, Dr = 6, Dv = 3;
    for (Form form : {Form::expanded, Form::absorbed})
        for (RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split})
            for (int shift : {1, 3, 50}) {
                Problem<double> p({1, N, Dm, H, 0, Rkv, Dn, Dr, Dv}, with_form(form), 60);
                p.options.rope_theta = 30, p.options.rope_layout = layout;
                // Numbers Dm - 2 and Dm - 1 of a token: 1 for a query, and 1 for a token in front.
                xt::view(p.hidden, 0, xt::all(), Dm - 2) = 1, xt::view(p.hidden, 0, xt::all(), Dm - 1) = 0;
                xt::view(p.w_dkv, Rkv - 1, xt::all()) = 0, p.w_dkv(Rkv - 1, Dm - 1) = 1;
                for (int h = 0; h < H; ++h) {
                    xt::view(p.w_ukv, p.key_row(h) + Dn - 1, xt::all()) = 0,
                                                             p.w_ukv(p.key_row(h) + Dn - 1, Rkv - 1) = 1;
                    xt::view(p.w_q, p.query_row(h) + Dn - 1, xt::all()) = 0;
                    p.w_q(p.query_row(h) + Dn - 1, Dm - 2) = -1e5;
                }
                p.solve();

                Problem<double> shifted = p;
                shifted.size.N = shift + N, shifted.options.prefill = shift;
                shifted.hidden = make_tensor<double, 3>({1, shift + N, Dm});
                fill_normal(view(shifted.hidden), 61);
                xt::view(shifted.hidden, 0, xt::all(), Dm - 1) = 1;
                xt::view(shifted.hidden, 0, xt::range(shift, shift + N), xt::all()) = xt::view(p.hidden, 0);
                shifted.solve();
                const Tensor<double, 3> moved =
                    xt::view(shifted.out, xt::all(), xt::range(shift, shift + N), xt::all());
                INFO("shift " << shift);
                CHECK(error(moved, p.out) <= 1e-12);
                // The cache is not the same: the rotated keys have moved. And positions do count.
                const Tensor<double, 3> rows =
                    xt::view(shifted.cache, xt::all(), xt::range(shift, shift + N), xt::all());
                CHECK(error(rows, p.cache) > 0.01);
                Problem<double> other = p;
                other.options.rope_theta = 3;
                other.solve();
                CHECK(error(other.out, p.out) > 1e-3);
            }
}

TEMPLATE_TEST_CASE("latent: RoPE turns pairs", "", double, float) {
    // Kills: frequencies by i instead of 2i, or over Dr/2; a rotation of the pairs of the other layout; a sign.
    for (RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
        Options options;
        options.rope_layout = layout, options.rope_theta = 16;
        auto turned = [&](std::initializer_list<TestType> numbers, int position) {
            Tensor<TestType, 1> x = make_tensor<TestType, 1>({{4}});
            std::copy(numbers.begin(), numbers.end(), x.begin());
            rotate(view(x), position, options);
            return x;
        };
        // theta = 16, Dr = 4: frequencies 1 and 1/4.
        const bool half_split = layout == RopeLayout::half_split;
        const int a = 0, b = half_split ? 2 : 1, c = half_split ? 1 : 2, d = 3;
        const Tensor<TestType, 1> x = turned({1, 1, 1, 1}, 3);
        CHECK(std::abs(x(a) - (std::cos(3.0) - std::sin(3.0))) <= 1e-6);
        CHECK(std::abs(x(b) - (std::cos(3.0) + std::sin(3.0))) <= 1e-6);
        CHECK(std::abs(x(c) - (std::cos(0.75) - std::sin(0.75))) <= 1e-6);
        CHECK(std::abs(x(d) - (std::cos(0.75) + std::sin(0.75))) <= 1e-6);
        // Position 0 changes no bit.
        const Tensor<TestType, 1> still = turned({1, -2, 3, 5}, 0);
        CHECK(std::equal(still.begin(), still.end(), std::initializer_list<TestType>{1, -2, 3, 5}.begin()));
        // The product of two depends on the distance of their positions only, also far out.
        auto product = [&](int i, int j) {
            const Tensor<TestType, 1> q = turned({1, -2, 3, 5}, i), k = turned({2, 1, -1, 3}, j);
            return static_cast<double>(xt::sum(q * k)());
        };
        CHECK(std::abs(product(100007, 100000) - product(7, 0)) <= (sizeof(TestType) == 8 ? 1e-9 : 1e-4));
        CHECK(std::abs(product(7, 0) - product(0, 7)) > 0.1);
    }
}

TEST_CASE("latent: without W_UK only the rotated part is left") {
    // Kills: queries read as [rope; nope], W_UK and W_UV exchanged, a nope part that reaches the scores in another way.
    for (Form form : {Form::expanded, Form::absorbed}) {
        Problem<double> p({2, 6, 5, 3, 0, 4, 3, 4, 2}, with_form(form), 70);
        for (int h = 0; h < 3; ++h) xt::view(p.w_ukv, xt::range(p.key_row(h), p.key_row(h) + 3), xt::all()) = 0;
        Problem<double> other_nope = p, other_rope = p, no_rope = p;
        for (int h = 0; h < 3; ++h) {
            const int nope = p.query_row(h), rope = nope + 3, end = rope + 4;
            xt::view(other_nope.w_q, xt::range(nope, rope), xt::all()) *= -5.0;
            xt::view(other_rope.w_q, xt::range(rope, end), xt::all()) *= -5.0;
            xt::view(no_rope.w_q, xt::range(rope, end), xt::all()) = 0;
        }
        p.solve(), other_nope.solve(), other_rope.solve(), no_rope.solve();
        CHECK(same_bits(other_nope.out, p.out));
        CHECK(error(other_rope.out, p.out) > 0.01);
        // With neither, all scores are 0: the output is that of the mean latent so far.
        for (int b = 0; b < 2; ++b)
            for (int i = 0; i < 6; ++i) {
                const Matrix latent = xt::mean(xt::view(no_rope.cache, b, xt::range(0, i + 1), xt::range(0, 4)), {0});
                Matrix results = xt::zeros<double>({6});
                for (int h = 0; h < 3; ++h)
                    for (int d = 0; d < 2; ++d)
                        results(2 * h + d) = xt::sum(xt::view(p.w_ukv, p.value_row(h) + d, xt::all()) * latent)();
                for (int m = 0; m < 5; ++m)
                    REQUIRE(std::abs(no_rope.out(b, i, m) - xt::sum(xt::view(p.w_o, m, xt::all()) * results)()) <=
                            1e-13);
            }
    }
}

TEST_CASE("latent: the output is linear in W_O and in W_UV") {
    // Kills: a W_O transposed (where it is square), a bias, values that also make scores.
    for (Form form : {Form::expanded, Form::absorbed}) {
        Problem<double> one({2, 5, 6, 3, 4, 5, 3, 2, 2}, with_form(form), 80), two = one, sum = one, values = one;
        fill_normal(view(two.w_o), 81);
        sum.w_o = one.w_o + 3.0 * two.w_o;
        for (int h = 0; h < 3; ++h)
            xt::view(values.w_ukv, xt::range(one.value_row(h), one.value_row(h) + 2), xt::all()) *= -2.0;
        one.solve(), two.solve(), sum.solve(), values.solve();
        const Tensor<double, 3> expected = one.out + 3.0 * two.out, doubled = -2.0 * one.out;
        CHECK(error(sum.out, expected) <= 1e-13);
        CHECK(same_bits(values.out, doubled));  // a power of 2 is exact
        CHECK(same_bits(sum.cache, one.cache));
        CHECK(same_bits(values.cache, one.cache));
    }
}

TEST_CASE("latent: the cache holds the normalised latent and the rotated key") {
    // Kills: a latent kept before its norm, normalised twice, or without the weight; a norm that reaches over the key;
    // a key kept before its rotation, or of the wrong position.
    for (std::uint64_t seed = 1; seed <= generated; ++seed) {
        Problem<double> p(generated_sizes(seed), generated_options(seed, Form::absorbed), seed);
        p.options.norm_epsilon = 0;
        p.solve();
        INFO(text(p.size, seed));
        for (int b = 0; b < p.size.B; ++b)
            for (int i = 0; i < p.size.N; ++i) {
                // Without its weight, the latent has mean square 1 and the direction that W_DKV gave it.
                double squares = 0, along = 0, raw_squares = 0;
                for (int c = 0; c < p.size.Rkv; ++c) {
                    const double raw = xt::sum(xt::view(p.w_dkv, c, xt::all()) * xt::view(p.hidden, b, i, xt::all()))();
                    const double plain = p.cache(b, i, c) / p.norm_kv(c);
                    squares += plain * plain, along += plain * raw, raw_squares += raw * raw;
                }
                REQUIRE(std::abs(squares / p.size.Rkv - 1) <= 1e-12);
                REQUIRE(std::abs(along / std::sqrt(squares * raw_squares) - 1) <= 1e-12);
                // The key has kept its length, and at position 0 all of itself.
                double before = 0, after = 0;
                for (int d = 0; d < p.size.Dr; ++d) {
                    const double raw =
                        xt::sum(xt::view(p.w_dkv, p.size.Rkv + d, xt::all()) * xt::view(p.hidden, b, i, xt::all()))();
                    const double kept = p.cache(b, i, p.size.Rkv + d);
                    before += raw * raw, after += kept * kept;
                    if (i == 0) REQUIRE(std::abs(kept - raw) <= 1e-12);
                }
                REQUIRE(after == Approx(before).epsilon(1e-12));
            }
    }
    // 16 bits: a cache of 16-bit numbers is what is read, so that it alone and hidden say what comes next.
    Problem<bfloat16> p({1, 9, 6, 2, 0, 5, 3, 4, 2}, with_form(Form::absorbed), 90);
    p.solve();
    Problem<double> exact({1, 9, 6, 2, 0, 5, 3, 4, 2}, with_form(Form::absorbed), 90);
    for (auto [from, to] : {std::pair{&p.w_q, &exact.w_q}, {&p.w_dkv, &exact.w_dkv}})
        for (std::size_t index = 0; index < from->size(); ++index) to->data()[index] = float(from->data()[index]);
    std::copy(p.hidden.begin(), p.hidden.end(), exact.hidden.begin());
    std::copy(p.norm_kv.begin(), p.norm_kv.end(), exact.norm_kv.begin());
    exact.solve();
    CHECK(relative_error(view(p.cache), view(exact.cache)) <= 0x1p-8);  // rounded once
}

TEST_CASE("latent: one huge score and a NaN stay where they belong") {
    // Kills: exp without the maximum (inf / inf), a mask by adding or multiplying (0 · NaN is NaN).
    for (Form form : {Form::expanded, Form::absorbed})
        for (int prefill : {0, 4}) {
            Problem<double> p({2, 7, 5, 2, 0, 4, 3, 2, 3}, with_form(form, prefill), 95);
            p.options.scale = 1e4;
            p.solve();
            CHECK(all_finite(p.out));
            Problem<double> poisoned = p;
            poisoned.hidden(0, 5, 2) = std::nan("");
            poisoned.solve();
            for (int b = 0; b < 2; ++b)
                for (int i = 0; i < 7; ++i)
                    for (int m = 0; m < 5; ++m)
                        if (b == 0 && i >= 5)
                            REQUIRE(std::isnan(poisoned.out(b, i, m)));
                        else
                            REQUIRE(poisoned.out(b, i, m) == p.out(b, i, m));
        }
}

TEST_CASE("latent: costs by formula equal the counts") {
    // Kills: a wrong formula, and a naive version that does more than it says: keys expanded once for each head or once
    // for each query, queries absorbed once for each key, an n × n matrix held.
    const Mechanism& mechanism = *find_mechanism("latent");
    auto check = [&](const Case& sized) {
        const Costs counted = mechanism.counted_costs(sized), predicted = mechanism.predicted_costs(sized);
        CHECK(counted.multiply_adds == predicted.multiply_adds);
        CHECK(counted.multiplications == predicted.multiplications);
        CHECK(counted.additions == predicted.additions);
        CHECK(counted.divisions == predicted.divisions);
        CHECK(counted.comparisons == predicted.comparisons);
        CHECK(counted.bytes_held == predicted.bytes_held);
        CHECK(counted == predicted);
        return counted;
    };
    for (int n : {1, 2, 33}) check(mechanism.sized_case(n));
    auto array = [](auto& tensor) {
        Array result = zeros(DType::float64, std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end()));
        std::copy(tensor.begin(), tensor.end(), result.template data<double>());
        return result;
    };
    for (std::uint64_t seed = 1; seed <= generated; ++seed)
        for (const char* form : {"expanded", "absorbed"})
            for (bool prefilled : {false, true}) {
                Problem<double> p(generated_sizes(seed), {}, seed);
                const int prefill = prefilled ? random_integer(seed, 20, 1, p.size.N) : 0;
                Case sized;
                sized.mechanism = "latent";
                sized.params = Params::parse(
                    "{\"heads\": " + std::to_string(p.size.H) + ", \"nope_dim\": " + std::to_string(p.size.Dn) +
                    ", \"rope_dim\": " + std::to_string(p.size.Dr) + ", \"value_dim\": " + std::to_string(p.size.Dv) +
                    (prefilled ? ", \"prefill\": " + std::to_string(prefill) : "") + ", \"form\": \"" + form + "\"}");
                sized.inputs = {{"hidden", array(p.hidden)},
                                {"w_dkv", array(p.w_dkv)},
                                {"norm_kv", array(p.norm_kv)},
                                {"w_ukv", array(p.w_ukv)},
                                {"w_o", array(p.w_o)}};
                if (p.size.Rq > 0)
                    sized.inputs["w_dq"] = array(p.w_dq), sized.inputs["norm_q"] = array(p.norm_q),
                    sized.inputs["w_uq"] = array(p.w_uq);
                else
                    sized.inputs["w_q"] = array(p.w_q);
                INFO(text(p.size, seed) << ", " << form << ", prefill " << prefill);
                check(sized);
            }
}

TEST_CASE("latent: what a generated token costs, in the sizes of DeepSeek-V2") {
    // Kills: a cache that grows with H, bytes and multiply-adds of one form in the other.
    constexpr Sizes v2{1, 1, 5120, 128, 1536, 512, 128, 64, 128};
    constexpr int n = 1000;
    CHECK(bytes_per_position(v2, 2) == 1152);
    CHECK(bytes_read_per_token(v2, n, 2) == 1152 * n);
    // Multi-head attention with the same heads, and the expanded keys and values kept as they are.
    CHECK(kv_cache::bytes_per_position(128, 128, 128, 2) == 2 * 32768);
    CHECK(kv_cache::bytes_per_position(128, 128 + 64, 128, 2) == 2 * 40960);
    // Grouped-query attention with as many bytes would have 2.25 groups.
    CHECK(bytes_per_position(v2, 2) * 4 == 9 * kv_cache::bytes_per_position(1, 128, 128, 2));
    // Multiply-adds: 320 H n expanded, as in multi-head attention with these heads; 1088 H n absorbed, 3.4 times as
    // many.
    CHECK(multiply_adds_per_token(v2, Form::expanded, n) == 320ll * 128 * n);
    CHECK(multiply_adds_per_token(v2, Form::expanded, n) == grouped_multiply_adds_per_token(128, 128 + 64, 128, n));
    CHECK(multiply_adds_per_token(v2, Form::absorbed, n) == 1088ll * 128 * n);
    // One token with a long cache is cheaper absorbed, many at once are cheaper expanded: 170 tokens and 171, as soon
    // as what they share, the expansion of the cache, is divided among them.
    auto tokens = [&](Form form, std::int64_t T, int cached) {
        const std::int64_t expansions = form == Form::expanded ? 1 : T;
        return T * multiply_adds_per_token(v2, form, cached) +
               expansions * expansion_multiply_adds_per_token(v2, form, cached);
    };
    constexpr int long_cache = 10'000'000;
    CHECK(tokens(Form::absorbed, 170, long_cache) < tokens(Form::expanded, 170, long_cache));
    CHECK(tokens(Form::absorbed, 171, long_cache) > tokens(Form::expanded, 171, long_cache));

    // They are what the naive version does: of the costs with n and with n - 1 positions, the difference.
    Sizes small{1, 9, 4, 3, 0, 5, 2, 4, 3}, shorter = small;
    shorter.N = 8;
    for (Form form : {Form::expanded, Form::absorbed}) {
        Options decode = with_form(form, 1);
        const std::int64_t difference =
            forward_cost(small, decode, 8).multiply_adds - forward_cost(shorter, decode, 8).multiply_adds;
        const std::int64_t projections = (5 + 4) * 4 + 3 * (2 + 4) * 4 + 4 * 3 * 3;  // W_DKV, W_Q, W_O
        const std::int64_t norm = 5;                                                 // its squares
        CHECK(difference - projections - norm ==
              multiply_adds_per_token(small, form, 9) + expansion_multiply_adds_per_token(small, form, 9));
    }
}

TEST_CASE("latent: inputs that contradict each other are refused by name") {
    Problem<double> p({2, 5, 6, 3, 4, 5, 3, 2, 7}, {}, 1), direct({2, 5, 6, 3, 0, 5, 3, 2, 7}, {}, 1);
    auto refusal = [&](const Problem<double>& problem, auto change) {
        Inputs<double> in = problem.inputs();
        Options options = problem.options;
        change(in, options);
        try {
            check_shapes(in, options);
        } catch (const ShapeError& error) {
            return std::string(error.what());
        }
        return std::string("(not refused)");
    };
    CHECK(refusal(p, [](auto&, auto&) {}) == "(not refused)");
    CHECK(refusal(direct, [](auto&, auto&) {}) == "(not refused)");

    using In = Inputs<double>;
    CHECK(refusal(p, [&](In& in, Options&) { in.w_q = direct.inputs().w_q; }) ==
          "w_q stands beside w_uq, expected w_q alone, or w_dq, norm_q and w_uq");
    CHECK(refusal(direct, [](In& in, Options&) { in.w_q = {}; }) ==
          "w_q is missing, expected w_q alone, or w_dq, norm_q and w_uq");
    CHECK(refusal(p, [](In& in, Options&) { in.norm_q = {}; }) ==
          "norm_q is missing beside w_uq, expected w_q alone, or w_dq, norm_q and w_uq");
    CHECK(refusal(p, [](In& in, Options&) { in.w_uq = {}; }) ==
          "w_uq is missing beside norm_q, expected w_q alone, or w_dq, norm_q and w_uq");
    CHECK(refusal(p, [](In& in, Options&) {
              in.w_dq = {in.w_dq.data(), {{4, 5}}};
          }) == "w_dq has shape [4, 5], expected [4, 6] = [Rq, Dm] with Dm of hidden");
    CHECK(refusal(p, [](In& in, Options&) {
              in.norm_q = {in.norm_q.data(), {{3}}};
          }) == "norm_q has shape [3], expected [4] = [Rq] with Rq of w_dq");
    CHECK(refusal(p, [](In& in, Options&) {
              in.w_uq = {in.w_uq.data(), {{15, 3}}};
          }) == "w_uq has shape [15, 3], expected [15, 4] = [H(Dn+Dr), Rq] with Rq of w_dq");
    CHECK(refusal(direct, [](In&, Options& options) { options.heads = 2; }) ==
          "w_q has shape [15, 6], expected [10, 6] = [H(Dn+Dr), Dm] with Dm of hidden");
    CHECK(refusal(p, [](In& in, Options&) {
              in.norm_kv = {in.norm_kv.data(), {{4}}};
          }) == "w_dkv has shape [7, 6], expected [6, 6] = [Rkv+Dr, Dm] with Rkv of norm_kv and Dm of hidden");
    CHECK(refusal(p, [](In&, Options& options) { options.value_dim = 6; }) ==
          "w_ukv has shape [30, 5], expected [27, 5] = [H(Dn+Dv), Rkv] with Rkv of norm_kv");
    CHECK(refusal(p, [](In& in, Options&) {
              in.w_o = {in.w_o.data(), {{21, 6}}};
          }) == "w_o has shape [21, 6], expected [6, 21] = [Dm, H·Dv] with Dm of hidden");
    CHECK(refusal(p, [](In&, Options& options) { options.rope_dim = 3; }) ==
          "w_dkv has 3 rows for the rotated key (rope_dim), expected an even number, at least 2: RoPE turns pairs");
    CHECK(refusal(p, [](In&, Options& options) { options.prefill = 6; }) ==
          "hidden has 5 positions, expected at least the 6 of prefill");
    CHECK(refusal(p, [](In&, Options& options) { options.heads = options.nope_dim = 2147483647; }) ==
          "w_uq has shape [15, 4], expected [2147483647, 4] = [H(Dn+Dr), Rq] with Rq of w_dq");
    // The naive version checks before it computes.
    Options wrong = p.options;
    wrong.heads = 2;
    CHECK_THROWS_AS(naive(p.inputs(), wrong, p.outputs()), ShapeError);
}

TEST_CASE("latent: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("latent");
    auto refusal = [&](const char* params, const char* without = "") {
        Case sized = mechanism.sized_case(3);
        sized.folder = "some_case";
        sized.params = Params::parse(params);
        sized.inputs.erase(without);
        try {
            mechanism.check(sized);
        } catch (const BadCase& error) {
            return std::string(error.what());
        }
        return std::string("(not refused)");
    };
    CHECK(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16})") == "(not refused)");
    CHECK_THAT(refusal(R"({"nope_dim": 16, "rope_dim": 8, "value_dim": 16})"), Catch::Contains("no params.heads"));
    CHECK_THAT(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 0, "value_dim": 16})"),
               Catch::Contains("params.rope_dim = 0"));
    CHECK_THAT(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16, "prefill": 4})"),
               Catch::Contains("params.prefill = 4"));
    CHECK_THAT(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16, "form": "absorb"})"),
               Catch::Contains("params.form = \"absorb\""));
    CHECK_THAT(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16, "causal": false})"),
               Catch::Contains("causal"));
    CHECK(refusal(R"({"heads": 2, "nope_dim": 16, "rope_dim": 8, "value_dim": 16})") ==
          "some_case/w_q.npy has shape [24, 2], expected [48, 2] = [H(Dn+Dr), Dm] with Dm of hidden");
    CHECK(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16})", "w_q") ==
          "some_case/w_q.npy is missing, expected w_q alone, or w_dq, norm_q and w_uq");
    CHECK_THAT(refusal(R"({"heads": 1, "nope_dim": 16, "rope_dim": 8, "value_dim": 16})", "w_o"),
               Catch::Contains("some_case/w_o.npy: found no such file"));
}
