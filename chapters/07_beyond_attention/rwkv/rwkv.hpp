// RWKV (version 4), the interface: a mean of all values so far, of each channel by itself. A value weighs exp(its key),
// and less with each token that came after it; the token's own has a bonus.
//
//     out_t = (Σ_{i<t} exp(k_i - (t-1-i) w) v_i + exp(k_t + u) v_t) / (the same with 1 in the place of v)
//
// Nothing is compared with anything: there is no query. What is left of the past are a numerator and a denominator for
// each channel, kept relative to the largest exponent, so that nothing overflows.
//
// Book 19.4, family 7. Peng et al. 2023, "RWKV" (arXiv 2305.13048), section 3.1.2, equation (16), and appendix D.
#pragma once

#include "chapters/07_beyond_attention/doubling.hpp"
#include "common/measure/costs.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::rwkv {

// Token by token; or in chunks, in which what the tokens leave is put together in any grouping, as the selective scan
// puts its pairs together. Parallel: one chunk of all tokens.
enum class Form { sequential, parallel, chunked };

struct Options {
    Form form = Form::sequential;
    int chunk = 32;
};

// The letters: B batch, L positions, D channels.
struct Sizes {
    int B, L, D;
};

template <class T>
struct Inputs {
    using Sum = accumulator_t<T>;
    TensorView<const Sum, 1> time_decay;  // [D], w: what an exponent loses with each token; above 0 in a model
    TensorView<const Sum, 1> time_first;  // [D], u: the bonus of the token's own key
    TensorView<const T, 3> key;           // [B, L, D]
    TensorView<const T, 3> value;         // [B, L, D]

    ATTN_HOST_DEVICE Sizes sizes() const { return {key.extent(0), key.extent(1), key.extent(2)}; }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("time_decay", time_decay), visitor("time_first", time_first);
        visitor("key", key), visitor("value", value);
    }
};

template <class T>
struct Outputs {
    using Sum = accumulator_t<T>;
    TensorView<T, 3> out;  // [B, L, D]
    TensorView<Sum, 3>
        state;  // [B, 3, D] after the last token: numerator and denominator, both divided by exp(exponent)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("state", state);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        const Sizes s = in.sizes();
        return {{nullptr, {s.B, s.L, s.D}}, {nullptr, {s.B, 3, s.D}}};
    }
};

// Throws ShapeError where the inputs contradict each other.
template <class T>
void check_shapes(const Inputs<T>& in) {
    const Sizes s = in.sizes();
    expect_shape("value", in.value, {{s.B, s.L, s.D}}, "[B, L, D], the shape of key");
    expect_shape("time_decay", in.time_decay, {{s.D}}, "[D] with D of key");
    expect_shape("time_first", in.time_first, {{s.D}}, "[D] with D of key");
}

// What the naive version costs, exactly. It holds the state of one channel; in chunks also an element, four numbers,
// for each token of a chunk.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const std::int64_t rows = std::int64_t{s.B} * s.D, tokens = rows * s.L;
    Costs costs;
    // [19.4.7-13]
    costs.comparisons = tokens;
    costs.exponentials = 2 * tokens;
    costs.multiplications = 2 * tokens;  // the past, which shrinks
    costs.multiply_adds = tokens;        // the token's own value
    costs.additions = 4 * tokens;        // exponents; the token's own weight
    costs.divisions = tokens;
    std::int64_t held = 3;
    if (options.form == Form::sequential) {
        // [19.4.7-14], the same once more without a division
        costs.comparisons += tokens, costs.exponentials += 2 * tokens, costs.multiplications += 2 * tokens;
        costs.multiply_adds += tokens, costs.additions += 4 * tokens;
    } else {
        const std::int64_t C = options.form == Form::parallel ? s.L : std::min(options.chunk, s.L);
        const std::int64_t full = s.L / C, rest = s.L % C;
        // [19.4.7-29], within the chunks; and each token with what was before its chunk
        const std::int64_t merged = rows * (full * doubling_combinations(C) + doubling_combinations(rest)) + tokens;
        costs.comparisons += merged + tokens;  // the exponents; whether a key counts at all
        costs.exponentials += 2 * merged;
        costs.multiplications += 3 * merged + tokens;
        costs.multiply_adds += 2 * merged;
        costs.additions += 4 * merged;
        held += 4 * C;
    }
    costs.bytes_held = held * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The exponent of a state without a token: so small that nothing of it counts, and finite, so that it can be subtracted
// from itself.
constexpr double no_exponent = -1e38;

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::rwkv
