// What must hold of native sparse attention whatever the sizes, on generated problems. Beside each property stands the
// wrong answer that it kills.
#include <numeric>
#include <set>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "common/mechanism/mechanism.hpp"
#include "tests/01_fixed_sparse/masked_dense.hpp"
#include "tests/06_native_sparse/native_sparse_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"

using namespace attn;
using namespace attn::native_sparse;
using fixed_sparse::Matrix;
using testing::error;
using testing::same_bits;
using Blocks = std::set<int>;

namespace {

template <class Function>
void for_each_problem(std::uint64_t count, Function f) {
    for (std::uint64_t seed = 1; seed <= count; ++seed) {
        const auto [size, options] = generated(seed, 45, 6);
        Problem<double> problem(size, options, seed);
        INFO("seed " << seed << text(size, options));
        f(problem);
    }
}

double largest(const Tensor<double, 4>& tensor) { return xt::amax(xt::abs(tensor))(); }

// Compressed block i has the tokens i d … i d + l - 1.
Blocks tokens_of_compressed(const Options& o, int i) {
    Blocks tokens;
    for (int s = 0; s < o.compress_block; ++s) tokens.insert(i * o.compress_stride + s);
    return tokens;
}
int last_token(const Options& o, int i) { return *tokens_of_compressed(o, i).rbegin(); }

// How many tokens block i of the one kind and J of the other have in common, by d.
double strides_in_common(const Options& o, int i, int J) {
    int count = 0;
    for (int token : tokens_of_compressed(o, i)) count += token / o.select_block == J;
    return static_cast<double>(count) / o.compress_stride;
}

// The compressed tokens of one head, as expressions: [blocks, D].
Matrix compressed(const Problem<double>& p, const Tensor<double, 4>& tokens, bool keys, int b, int g) {
    const Options& o = p.options;
    const int l = o.compress_block;
    std::vector<int> starts;
    for (int first = 0; first + l <= p.size.N; first += o.compress_stride) starts.push_back(first);
    Matrix result = xt::zeros<double>({starts.size(), tokens.shape(3)});
    const auto& [weight, position, up, down] = keys ? std::tie(p.k_weight, p.k_position, p.k_up, p.k_down)
                                                    : std::tie(p.v_weight, p.v_position, p.v_up, p.v_down);
    for (std::size_t i = 0; i < starts.size(); ++i) {
        const Matrix block = xt::view(tokens, b, g, xt::range(starts[i], starts[i] + l));
        if (o.compressor == Compressor::mean) {
            xt::view(result, i) = xt::mean(block, {0});
        } else if (o.compressor == Compressor::linear) {
            const Matrix weighted = xt::view(weight, xt::all(), xt::newaxis()) * block;
            xt::view(result, i) = xt::sum(weighted, {0});
        } else {
            const Matrix moved = block + position;
            const xt::xtensor<double, 1> flat = xt::flatten(moved);
            const Matrix products = up * flat;
            const xt::xtensor<double, 1> hidden = xt::sum(products, {1});
            const xt::xtensor<double, 1> active = hidden * 0.5 * xt::erfc(-hidden / std::sqrt(2.0));
            const Matrix out = down * active;
            xt::view(result, i) = xt::sum(out, {1});
        }
    }
    return result;
}

// The weights of the compressed keys [N, blocks] of one query head.
Matrix compressed_weights(const Problem<double>& p, int b, int h) {
    const Matrix keys = compressed(p, p.k_compress, true, b, h / p.size.group()), q = xt::view(p.q, b, h);
    const int blocks = static_cast<int>(keys.shape(0));
    const Matrix mask = fixed_sparse::mask_of(p.size.N, blocks, [&](int t) {
        Blocks seen;
        for (int i = 0; i < blocks; ++i)
            if (last_token(p.options, i) <= t) seen.insert(i);
        return seen;
    });
    return fixed_sparse::masked_weights(q, keys, p.options.scale, mask);
}

// The selection, in words: sorted by importance, which is counted token by token.
Blocks selection(const Problem<double>& p, int b, int g, int t, std::vector<double>& importance) {
    const Options& o = p.options;
    const int own = t / o.select_block;
    importance.assign(static_cast<std::size_t>(own + 1), 0);
    for (int h = g * p.size.group(); h < (g + 1) * p.size.group(); ++h) {
        const Matrix weights = compressed_weights(p, b, h);
        for (int i = 0; i < static_cast<int>(weights.shape(1)) && last_token(o, i) <= t; ++i)
            for (int J = 0; J <= own; ++J)
                importance[static_cast<std::size_t>(J)] += weights(t, i) * strides_in_common(o, i, J);
    }
    Blocks chosen{0, std::max(0, own - 1), own};
    std::vector<int> order(importance.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int c) {
        return importance[static_cast<std::size_t>(a)] > importance[static_cast<std::size_t>(c)];
    });
    for (int J : order)
        if (static_cast<int>(chosen.size()) < o.select_count) chosen.insert(J);
    return chosen;
}

Blocks selected_set(const Tensor<std::int32_t, 4>& selected, int b, int g, int t) {
    Blocks set;
    for (std::size_t r = 0; r < selected.shape(3); ++r)
        if (selected(b, g, t, r) >= 0) set.insert(selected(b, g, t, r));
    return set;
}

// The branches with three masks, and their gated sum.
void by_masks(Problem<double>& p, const Tensor<std::int32_t, 4>& selected) {
    const Options& o = p.options;
    const int N = p.size.N;
    for (int b = 0; b < p.size.B; ++b)
        for (int h = 0; h < p.size.H; ++h) {
            const int g = h / p.size.group();
            const Matrix q = xt::view(p.q, b, h), weights = compressed_weights(p, b, h);
            const Matrix values = compressed(p, p.v_compress, false, b, g);
            xt::view(p.out_compress, b, h) = fixed_sparse::times_transposed(weights, xt::transpose(values));
            const auto branch = [&](const Tensor<double, 4>& k, const Tensor<double, 4>& v, auto set) {
                const Matrix keys = xt::view(k, b, g), of_values = xt::view(v, b, g);
                return fixed_sparse::masked_dense(q, keys, of_values, o.scale, fixed_sparse::mask_of(N, N, set));
            };
            xt::view(p.out_select, b, h) = branch(p.k_select, p.v_select, [&](int t) {
                Blocks tokens;
                const Blocks blocks = selected_set(selected, b, g, t);
                for (int j = 0; j <= t; ++j)
                    if (blocks.count(j / o.select_block)) tokens.insert(j);
                return tokens;
            });
            xt::view(p.out_window, b, h) =
                branch(p.k_window, p.v_window, [&](int t) { return fixed_sparse::window_set(N, N, o.window, 0, t); });
        }
    const auto gate = [&](int branch) {
        return xt::view(p.gates, xt::all(), xt::all(), xt::all(), xt::range(branch, branch + 1));
    };
    p.out = gate(0) * p.out_compress + gate(1) * p.out_select + gate(2) * p.out_window;
}

}  // namespace

TEST_CASE("native sparse: equals three masked attentions, gated, with the selection counted token by token") {
    // Kills: a block that is seen before its last token, a window of W + 1, importance of one head of a group, the
    // forced blocks on top of n, gates in another order, keys of another branch.
    for_each_problem(36, [](Problem<double>& p) {
        p.solve();
        bool same = true;
        std::vector<double> importance;
        for (int b = 0; b < p.size.B; ++b)
            for (int g = 0; g < p.size.G; ++g)
                for (int t = 0; t < p.size.N; t += 1 + p.size.N / 12)
                    same = same && selected_set(p.selected, b, g, t) == selection(p, b, g, t, importance);
        CHECK(same);
        Problem<double> expected(p);
        by_masks(expected, p.selected);
        CHECK(error(p.out_compress, expected.out_compress) <= 1e-12);
        CHECK(error(p.out_select, expected.out_select) <= 1e-12);
        CHECK(error(p.out_window, expected.out_window) <= 1e-12);
        CHECK(error(p.out, expected.out) <= 1e-12);
    });
}

TEST_CASE("native sparse: the selection is ascending, padded with -1, and has the first and the two last blocks") {
    for_each_problem(60, [](Problem<double>& p) {
        p.solve();
        const Options& o = p.options;
        for (int t = 0; t < p.size.N; ++t) {
            const Blocks set = selected_set(p.selected, 0, 0, t);
            const int own = t / o.select_block;
            CHECK(static_cast<int>(set.size()) == std::min(o.select_count, own + 1));
            CHECK((set.count(0) && set.count(own) && (own == 0 || set.count(own - 1))));
            CHECK(*set.rbegin() == own);
            std::vector<int> row(set.begin(), set.end());
            row.resize(static_cast<std::size_t>(o.select_count), -1);
            for (int r = 0; r < o.select_count; ++r) CHECK(p.selected(0, 0, t, r) == row[static_cast<std::size_t>(r)]);
        }
    });
}

TEST_CASE("native sparse: equation 9 counts from 1; from 0 it is p[aJ + m - n], as overlaps say") {
    // Kills: the printed equation with indices from 0, whose blocks are up to two too early.
    bool printed_from_0_is_the_same = true;
    for (int d : {1, 2})
        for (int beta : {1, 2, 3})
            for (int alpha = beta; alpha <= 5; ++alpha) {
                Options o;
                o.compress_block = beta * d, o.compress_stride = d, o.select_block = alpha * d;
                for (int J = 0; J < 6; ++J)
                    for (int i = 0; i < 40; ++i) {
                        int from_0 = 0, from_1 = 0, printed = 0;
                        for (int m = 0; m < alpha; ++m)
                            for (int n = 0; n < beta; ++n) {
                                from_0 += i == alpha * J + m - n;
                                from_1 += i + 1 == alpha * (J + 1) - m - n;  // Eq. 9, both indices from 1
                                printed += i == alpha * J - m - n;
                            }
                        CHECK(o.shared_strides(i, J) == strides_in_common(o, i, J));
                        CHECK(o.shared_strides(i, J) == from_0);
                        CHECK(from_1 == from_0);
                        printed_from_0_is_the_same = printed_from_0_is_the_same && printed == from_0;
                    }
            }
    CHECK(!printed_from_0_is_the_same);
    Options paper;  // 32, 16, 64: weights 1 2 2 2 1 around block 4J
    paper.compress_block = 32, paper.compress_stride = 16, paper.select_block = 64;
    for (auto [i, weight] : {std::pair{18, 0}, {19, 1}, {20, 2}, {21, 2}, {22, 2}, {23, 1}, {24, 0}})
        CHECK(paper.shared_strides(i, 5) == weight);
}

TEST_CASE("native sparse: the importance of all blocks sums up to l/d for each head that sees a compressed key") {
    // Kills: a compressed block that loses what it has in a second selection block, weights that are not normalised.
    for_each_problem(40, [](Problem<double>& p) {
        Memory<double> memory(p.inputs(), p.options);
        const double expected = 1.0 * p.size.group() * p.options.compress_block / p.options.compress_stride;
        for (int g = 0; g < p.size.G; ++g) {
            memory.compress_head(p.inputs(), p.options, 0, g, 0, p.size.N);
            for (int t = 0; t < p.size.N; ++t) {
                attend_at(p.inputs(), p.options, 0, g, t, memory, p.outputs(), true);
                const double sum = xt::sum(memory.importance)();
                CHECK(sum == Approx(t + 1 >= p.options.compress_block ? expected : 0).epsilon(1e-13));
            }
        }
    });
}

TEST_CASE("native sparse: equal importance goes to the lower blocks") {
    // Kills: ties to the higher index, an importance whose order of sums depends on the block.
    for_each_problem(40, [](Problem<double>& p) {
        p.q.fill(0);
        p.solve();
        for (int t = 0; t < p.size.N; ++t) {
            const int own = t / p.options.select_block;
            Blocks expected{0, std::max(0, own - 1), own};
            // Block 1 … own - 2 are overlapped alike; without q every compressed key has the same weight.
            for (int J = 1; J <= own && static_cast<int>(expected.size()) < p.options.select_count; ++J)
                expected.insert(J);
            CHECK(selected_set(p.selected, 0, 0, t) == expected);
        }
    });
}

TEST_CASE("native sparse: each branch alone, in the setting in which it degenerates, is dense causal attention") {
    // Kills: anything that one branch does with the keys of another, a softmax over the gates.
    for_each_problem(30, [](Problem<double>& p) {
        Sizes s = p.size;
        const auto dense_of = [&](const Tensor<double, 4>& k, const Tensor<double, 4>& v) {
            Tensor<double, 4> out = p.d_out;
            Tensor<double, 3> log_sum_exp = make_tensor<double, 3>({s.B, s.H, s.N});
            dense::naive_forward<double>({view(std::as_const(p.q)), view(k), view(v), {}}, {true, p.options.scale},
                                         {view(out), view(log_sum_exp), {}, {}, {}});
            return out;
        };
        const Tensor<double, 4> of_select = dense_of(p.k_select, p.v_select),
                                of_window = dense_of(p.k_window, p.v_window),
                                of_compress = dense_of(p.k_compress, p.v_compress);
        Problem<double> all(p);
        all.options.select_count = std::max(3, p.options.blocks(s.N)), all.options.window = s.N;
        all.solve();
        CHECK(error(all.out_select, of_select) <= 1e-12);
        CHECK(error(all.out_window, of_window) <= 1e-12);
        Options identity = all.options;
        identity.compress_block = identity.compress_stride = 1, identity.compressor = Compressor::mean;
        Problem<double> each(s, identity, 0);
        each.q = p.q, each.gates = p.gates, each.k_compress = p.k_compress, each.v_compress = p.v_compress;
        // With the same keys and values in all branches: the sum of the gates, times dense attention.
        each.k_select = each.k_window = p.k_compress, each.v_select = each.v_window = p.v_compress;
        each.solve();
        CHECK(error(each.out_compress, of_compress) <= 1e-12);
        const Tensor<double, 3> gates = xt::sum(p.gates, {3});
        const Tensor<double, 4> expected =
            xt::view(gates, xt::all(), xt::all(), xt::all(), xt::newaxis()) * of_compress;
        CHECK(error(each.out, expected) <= 1e-12);
    });
}

TEST_CASE("native sparse: a prefix has the same bits alone and with anything behind it, at every boundary of blocks") {
    // Kills: a compressed or selected block that is used before its last token, or padded; a window that looks ahead.
    for_each_problem(24, [](Problem<double>& p) {
        p.solve();
        std::set<int> lengths{1, p.size.N};
        for (int edge : {p.options.compress_block, p.options.compress_stride * 2, p.options.select_block,
                         p.options.select_block * 3})
            for (int length = edge - 1; length <= edge + 1; ++length)
                if (length > 0 && length < p.size.N) lengths.insert(length);
        for (int length : lengths) {
            Sizes shorter = p.size;
            shorter.N = length;
            Problem<double> prefix(shorter, p.options, 0);
            const auto first = [&](const Tensor<double, 4>& from) -> Tensor<double, 4> {
                return xt::view(from, xt::all(), xt::all(), xt::range(0, length));
            };
            prefix.q = first(p.q), prefix.gates = first(p.gates);
            prefix.k_compress = first(p.k_compress), prefix.v_compress = first(p.v_compress);
            prefix.k_select = first(p.k_select), prefix.v_select = first(p.v_select);
            prefix.k_window = first(p.k_window), prefix.v_window = first(p.v_window);
            prefix.k_weight = p.k_weight, prefix.v_weight = p.v_weight, prefix.k_position = p.k_position;
            prefix.v_position = p.v_position, prefix.k_up = p.k_up, prefix.v_up = p.v_up;
            prefix.k_down = p.k_down, prefix.v_down = p.v_down;
            prefix.solve();
            INFO("length " << length);
            CHECK(same_bits(prefix.out, first(p.out)));
            CHECK(same_bits(prefix.out_compress, first(p.out_compress)));
        }
    });
}

TEST_CASE("native sparse: token by token, with a compressed cache that grows, it has the same bits as at once") {
    // Kills: a block that is compressed before it is complete, or never.
    for_each_problem(24, [](Problem<double>& p) {
        p.solve();
        for (int prefill : {1, p.size.N / 2 + 1, p.size.N}) {
            Problem<double> steps(p);
            steps.options.prefill = prefill;
            steps.solve();
            CHECK((same_bits(steps.out, p.out) && same_bits(steps.selected, p.selected)));
        }
    });
}

TEST_CASE("native sparse: NaN in what a query does not see does not reach it") {
    // Kills: 0 · NaN; a compressed block that is read before it is complete.
    for_each_problem(30, [](Problem<double>& p) {
        p.solve();
        const int poisoned = random_integer(1, static_cast<std::uint64_t>(p.size.N), 0, p.size.N - 1);
        Problem<double> other(p);
        for (auto* tensor :
             {&other.k_compress, &other.v_compress, &other.k_select, &other.v_select, &other.k_window, &other.v_window})
            xt::view(*tensor, xt::all(), xt::all(), poisoned) = std::nan("");
        other.solve_with(p.selected);
        const Options& o = p.options;
        for (int t = 0; t < p.size.N; ++t) {
            bool compress_sees = false;
            for (int i = 0; i < o.complete(p.size.N); ++i)
                compress_sees = compress_sees || (last_token(o, i) <= t && tokens_of_compressed(o, i).count(poisoned));
            const bool select_sees =
                poisoned <= t && selected_set(p.selected, 0, 0, t).count(poisoned / o.select_block);
            const bool window_sees = poisoned <= t && poisoned > t - o.window;
            const auto check = [&](const Tensor<double, 4>& before, const Tensor<double, 4>& after, bool sees) {
                for (int d = 0; d < p.size.Dv; ++d)
                    if (sees)
                        CHECK(std::isnan(after(0, 0, t, d)));
                    else
                        CHECK(after(0, 0, t, d) == before(0, 0, t, d));
            };
            check(p.out_compress, other.out_compress, compress_sees);
            check(p.out_select, other.out_select, select_sees);
            check(p.out_window, other.out_window, window_sees);
        }
        // The selection itself: where a seen key is NaN, the lower blocks.
        const Blocks last = (other.solve(), selected_set(other.selected, 0, 0, p.size.N - 1));
        CHECK((last.count(0) && last.count((p.size.N - 1) / o.select_block)));
    });
}

TEST_CASE("native sparse: the gradients are the slopes of the output, with the selection held") {
    // Kills: a gradient through the importance, a token that hears of one of its compressed blocks only, gates that are
    // forgotten in a branch, heads of a group that overwrite each other, weights that hear of the last block only.
    for_each_problem(24, [](Problem<double>& p) {
        if (p.options.scale > 1) return;
        p.solve(true);
        const Tensor<std::int32_t, 4> blocks = p.selected;
        const Problem<double> direction(p.size, p.options, 77);
        const auto loss = [&](Problem<double>& at) {
            const Tensor<double, 4> each = at.solve_with(blocks) * p.d_out;
            return xt::sum(each)();
        };
        const auto slope = [&](const char* name, auto tensor, const auto& gradient) {
            constexpr double h = 1e-6;
            Problem<double> up(p), down(p);
            up.*tensor += h * (direction.*tensor), down.*tensor -= h * (direction.*tensor);
            const xt::xarray<double> each = gradient * (direction.*tensor);
            INFO(name);
            CHECK((loss(up) - loss(down)) / (2 * h) == Approx(xt::sum(each)()).epsilon(2e-6).margin(2e-7));
        };
        using P = Problem<double>;
        slope("q", &P::q, p.d_q), slope("gates", &P::gates, p.d_gates);
        slope("k_compress", &P::k_compress, p.d_k_compress), slope("v_compress", &P::v_compress, p.d_v_compress);
        slope("k_select", &P::k_select, p.d_k_select), slope("v_select", &P::v_select, p.d_v_select);
        slope("k_window", &P::k_window, p.d_k_window), slope("v_window", &P::v_window, p.d_v_window);
        if (p.options.compressor == Compressor::linear)
            slope("k_weight", &P::k_weight, p.d_k_weight), slope("v_weight", &P::v_weight, p.d_v_weight);
        if (p.options.compressor != Compressor::mlp) return;
        slope("k_position", &P::k_position, p.d_k_position), slope("v_position", &P::v_position, p.d_v_position);
        slope("k_up", &P::k_up, p.d_k_up), slope("v_up", &P::v_up, p.d_v_up);
        slope("k_down", &P::k_down, p.d_k_down), slope("v_down", &P::v_down, p.d_v_down);
    });
}

TEST_CASE("native sparse: the gradients obey their identities") {
    // One vector more in all keys of a branch changes nothing: Σ_j dK_j = 0, for the compressed ones too where they are
    // means. ⟨dV, V⟩ over the branches = ⟨dO, O⟩ with a compressor that is linear.
    for_each_problem(40, [](Problem<double>& p) {
        if (p.options.scale > 1) return;
        p.solve(true);
        const auto sums_to_zero = [&](const Tensor<double, 4>& gradient) {
            const Tensor<double, 3> sums = xt::sum(gradient, {2});
            CHECK(xt::amax(xt::abs(sums))() <= 1e-11 * (1 + largest(gradient)));
        };
        sums_to_zero(p.d_k_select), sums_to_zero(p.d_k_window);
        if (p.options.compressor == Compressor::mean) sums_to_zero(p.d_k_compress);
        if (p.options.compressor == Compressor::mlp) return;
        const Tensor<double, 4> of_values =
            p.d_v_compress * p.v_compress + p.d_v_select * p.v_select + p.d_v_window * p.v_window;
        const Tensor<double, 4> of_out = p.d_out * p.out, of_gates = p.d_gates * p.gates;
        CHECK(xt::sum(of_values)() == Approx(xt::sum(of_out)()).epsilon(1e-10).margin(1e-10));
        CHECK(xt::sum(of_gates)() == Approx(xt::sum(of_out)()).epsilon(1e-10).margin(1e-10));
    });
}

TEST_CASE("native sparse: costs by formula equal the counts, and pairs in closed form those of the sets") {
    const Mechanism& mechanism = *find_mechanism("native_sparse");
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const auto [size, options] = generated(seed, 70, 4);
        INFO("seed " << seed << text(size, options));
        Pairs counted{0, 0, 0};
        for (int t = 0; t < size.N; ++t) {
            for (int i = 0; last_token(options, i) <= t; ++i) ++counted.compress;
            counted.window +=
                static_cast<std::int64_t>(fixed_sparse::window_set(size.N, size.N, options.window, 0, t).size());
            Blocks blocks{0, t / options.select_block, std::max(0, t / options.select_block - 1)};
            for (int J = 0; J <= t / options.select_block; ++J)
                if (static_cast<int>(blocks.size()) < options.select_count) blocks.insert(J);
            for (int j = 0; j <= t; ++j) counted.select += blocks.count(j / options.select_block);
        }
        const Pairs formula = pairs(size.N, options);
        CHECK(formula.compress == counted.compress);
        CHECK(formula.select == counted.select);
        CHECK(formula.window == counted.window);

        const Problem<double> p(size, options, seed, 1 + static_cast<int>(seed % 4));
        Case sized = mechanism.sized_case(1);
        const auto put = [&](const char* name, const auto& tensor) {
            Array array = zeros(DType::float64, {tensor.shape().begin(), tensor.shape().end()});
            std::copy(tensor.begin(), tensor.end(), array.template data<double>());
            sized.inputs[name] = array;
        };
        put("q", p.q), put("gates", p.gates), put("k_compress", p.k_compress), put("v_compress", p.v_compress);
        put("k_select", p.k_select), put("v_select", p.v_select), put("k_window", p.k_window),
            put("v_window", p.v_window);
        const char* names[] = {"mean", "linear", "mlp"};
        if (options.compressor == Compressor::linear)
            put("compress_k_weight", p.k_weight), put("compress_v_weight", p.v_weight);
        if (options.compressor == Compressor::mlp) {
            put("compress_k_position", p.k_position), put("compress_v_position", p.v_position);
            put("compress_k_up", p.k_up), put("compress_v_up", p.v_up);
            put("compress_k_down", p.k_down), put("compress_v_down", p.v_down);
        }
        sized.params = Params::parse("{\"compress_block\": " + std::to_string(options.compress_block) +
                                     ", \"compress_stride\": " + std::to_string(options.compress_stride) +
                                     ", \"select_block\": " + std::to_string(options.select_block) +
                                     ", \"select_count\": " + std::to_string(options.select_count) +
                                     ", \"window\": " + std::to_string(options.window) + ", \"compressor\": \"" +
                                     names[static_cast<int>(options.compressor)] + "\"}");
        CHECK(mechanism.counted_costs(sized) == mechanism.predicted_costs(sized));
    }
}

TEST_CASE(
    "native sparse: the paper's setting at 64k has 9.25 times fewer pairs than dense, and 11.6 times fewer reads") {
    Options paper;
    paper.compress_block = 32, paper.compress_stride = 16, paper.select_block = 64, paper.select_count = 16;
    paper.window = 512;
    const auto fewer = [&](std::int64_t n) {
        return static_cast<double>(n * (n + 1) / 2) / static_cast<double>(pairs(n, paper).all());
    };
    CHECK(fewer(1 << 16) == Approx(9.25).epsilon(5e-4));
    CHECK(fewer(1 << 15) == Approx(6.53).epsilon(1e-3));
    CHECK(fewer(1 << 14) == Approx(4.14).epsilon(1e-3));
    const Pairs at_64k = pairs(1 << 16, paper);
    CHECK(static_cast<double>(at_64k.compress) == Approx(134.1e6).epsilon(1e-3));
    CHECK(static_cast<double>(at_64k.select) == Approx(64.6e6).epsilon(1e-3));
    CHECK(static_cast<double>(at_64k.window) == Approx(33.4e6).epsilon(1e-3));
    // Table 4 of the paper counts s/d compressed keys; of those, (s - l)/d + 1 are complete.
    for (auto [s, expected] : {std::pair{8192, 2048}, {16384, 2560}, {32768, 3584}, {65536, 5632}})
        CHECK(decode_positions(s, paper) == expected - 1);
    CHECK(65536.0 / static_cast<double>(decode_positions(65536, paper)) == Approx(11.6).epsilon(5e-3));
    CHECK(cache_positions(65536, paper) == 65536 + 512 + 4095);  // the cache does not shrink
    // What grows: from 64k to 128k the compressed pairs do it nearly four times, the others twice.
    const Pairs at_128k = pairs(1 << 17, paper);
    CHECK(at_128k.compress > 3.99 * at_64k.compress);
    CHECK(at_128k.select < 2.03 * at_64k.select);
}

TEST_CASE("native sparse: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("native_sparse");
    const auto refusal = [&](const std::string& params, auto change) {
        Case sized = mechanism.sized_case(9);
        sized.folder = "some_case";
        sized.params = Params::parse(params);
        change(sized);
        return testing::refusal([&] { mechanism.check(sized); });
    };
    const auto nothing = [](Case&) {};
    const auto with = [](int l, int d, int block, int n, int W, const std::string& more = "") {
        return "{\"compress_block\": " + std::to_string(l) + ", \"compress_stride\": " + std::to_string(d) +
               ", \"select_block\": " + std::to_string(block) + ", \"select_count\": " + std::to_string(n) +
               ", \"window\": " + std::to_string(W) + more + "}";
    };
    const auto put = [](const char* name, std::vector<std::int64_t> shape) {
        return [=](Case& c) { c.inputs[name] = zeros(DType::float32, shape); };
    };
    CHECK(refusal(with(4, 2, 8, 3, 1), nothing) == "(not refused)");
    CHECK(refusal(with(4, 2, 8, 3, 1, R"(, "compressor": "mean", "scale": 2)"), nothing) == "(not refused)");
    CHECK_THAT(refusal("{}", nothing), Catch::Contains("params.compress_block"));
    CHECK_THAT(refusal(with(4, 3, 9, 3, 1), nothing),
               Catch::Contains("compress_block 4") && Catch::Contains("multiple"));
    CHECK_THAT(refusal(with(4, 2, 9, 3, 1), nothing), Catch::Contains("select_block 9") && Catch::Contains("multiple"));
    CHECK_THAT(refusal(with(4, 2, 2, 3, 1), nothing), Catch::Contains("params.select_block = 2"));
    CHECK_THAT(refusal(with(4, 8, 8, 3, 1), nothing), Catch::Contains("params.compress_stride = 8"));
    CHECK_THAT(refusal(with(4, 2, 8, 2, 1), nothing), Catch::Contains("params.select_count = 2"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 0), nothing), Catch::Contains("params.window = 0"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1, R"(, "compressor": "max")"), nothing), Catch::Contains("compressor"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1, R"(, "causal": true)"), nothing), Catch::Contains("causal"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1), put("v_select", {1, 1, 9, 15})),
               Catch::Contains("some_case/v_select.npy has shape [1, 1, 9, 15], expected [1, 1, 9, 16]"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1), put("gates", {1, 2, 9, 2})), Catch::Contains("some_case/gates.npy"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1), put("k_compress", {1, 3, 9, 16})), Catch::Contains("divisor"));
    // The weights of a compressor belong to it.
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1), put("compress_k_weight", {4})),
               Catch::Contains("some_case/compress_k_weight.npy is there"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1, R"(, "compressor": "linear")"), put("compress_k_weight", {4})),
               Catch::Contains("some_case/compress_v_weight.npy is not there"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1, R"(, "compressor": "linear")"), put("compress_k_weight", {3})),
               Catch::Contains("some_case/compress_k_weight.npy has shape [3], expected [4]"));
    CHECK_THAT(refusal(with(4, 2, 8, 3, 1, R"(, "compressor": "mlp")"), put("compress_k_position", {4, 16})),
               Catch::Contains("some_case/compress_k_up.npy is not there"));
    // The kernels have no backward pass.
    Case sized = mechanism.sized_case(9);
    CHECK(testing::refusal([&] { mechanism.check_cuda(sized); }) == "(not refused)");
    sized.inputs["d_out"] = sized.inputs["q"];
    CHECK_THAT(testing::refusal([&] { mechanism.check_cuda(sized); }), Catch::Contains("d_out.npy"));
}
