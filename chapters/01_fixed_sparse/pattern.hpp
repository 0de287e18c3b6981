// Patterns: which keys a query sees. Everything else of this chapter follows from them: how many pairs there are, the
// pictures, the tiles that a kernel visits, and what it masks in these.
//
// A pattern is a struct with
//
//     visible(h, i, j)        whether query i of head h sees key j: the predicate; on the host and on the device
//     for_each_run(h, i, f)   the same as the keys of a row, f(Run) for each run; no key is in two. On the host
//     blind(h, i)             whether it sees none
//     pairs()                 how many pairs one head has, or all of them have, in closed form
//
// and, for kernels, which put rows and columns into an order of their own where that makes better tiles,
//
//     query(row), key(column), column(key)    from the kernel's numbers to positions, and back
//     look_at(j)                              key j with what must be known of it, fetched once for several queries:
//                                             `visible` takes it in the place of j
//
// The kernel asks for visible pairs of rows that are not blind.
//
// Positions count from 0. A window W counts the keys that a query sees, its own included; a radius w does not count
// the query itself, and goes to both sides.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/tensor/tensor_view.hpp"

namespace attn::fixed_sparse {

// The keys first, first + step, first + 2 step …: `count` of them, at least one.
struct Run {
    int first, count, step;
};

// Rows and columns of the kernel are the positions.
struct InOrder {
    ATTN_HOST_DEVICE constexpr int query(int row) const { return row; }
    ATTN_HOST_DEVICE constexpr int key(int column) const { return column; }
    ATTN_HOST_DEVICE constexpr int column(int key) const { return key; }
    ATTN_HOST_DEVICE constexpr int look_at(int j) const { return j; }
};

// Columns, and rows, are the positions sorted by their remainder mod a step s: 0, s, 2s … 1, s + 1, … What sees only
// every s-th position then sees neighbours. s = 1: in order.
struct ByRemainder {
    int n = 1, key_step = 1, query_step = 1;

    ATTN_HOST_DEVICE constexpr int query(int row) const { return position(row, query_step); }
    ATTN_HOST_DEVICE constexpr int key(int column) const { return position(column, key_step); }
    ATTN_HOST_DEVICE constexpr int column(int key) const {
        const int remainder = key % key_step, longer = n % key_step;
        return remainder * (n / key_step) + (remainder < longer ? remainder : longer) + key / key_step;
    }
    ATTN_HOST_DEVICE constexpr int look_at(int j) const { return j; }

  private:
    ATTN_HOST_DEVICE constexpr int position(int place, int step) const {
        if (step == 1) return place;
        const int longer = n % step, length = n / step;  // the first `longer` remainders have one position more
        const int in_longer = longer * (length + 1);
        if (place < in_longer) return place % (length + 1) * step + place / (length + 1);
        return (place - in_longer) % length * step + longer + (place - in_longer) / length;
    }
};

// Pairs of the queries 0 … n - 1 with what they see of keys in front of them at most W - 1 away: n rows of W, without
// the corner that is missing before position 0.
constexpr std::int64_t window_pairs(std::int64_t n, std::int64_t W) {
    W = std::min(W, n);
    return n * W - W * (W - 1) / 2;
}

// ---- sliding window (Mistral) ---------------------------------------------------------------------------------------

// Query i is position i + (keys - queries). Of the positions up to its own it sees the last `window` and the first
// `sinks`.
struct WindowPattern : InOrder {
    int queries, keys, window, sinks;

    ATTN_HOST_DEVICE constexpr int position(int i) const { return i + (keys - queries); }
    ATTN_HOST_DEVICE constexpr bool visible(int, int i, int j) const {
        return j <= position(i) && (position(i) - j < window || j < sinks);
    }
    ATTN_HOST_DEVICE constexpr bool blind(int, int i) const { return position(i) < 0; }
    template <class Function>
    void for_each_run(int, int i, Function f) const {
        if (blind(0, i)) return;
        const int own = position(i), first = std::max(0, own - (window - 1));
        if (std::min(sinks, first) > 0) f(Run{0, std::min(sinks, first), 1});
        f(Run{first, own + 1 - first, 1});
    }
    std::int64_t pairs() const {
        const int unseen = keys - std::min(queries, keys);  // positions before the first query's
        return pairs_up_to(keys) - pairs_up_to(unseen);
    }
    int longest_row() const { return std::min(keys, std::min(window, keys) + std::min(sinks, keys)); }

  private:
    // Of the positions 0 … n - 1. Beyond the window, row W + t sees the first min(s, t + 1) keys.
    std::int64_t pairs_up_to(std::int64_t n) const {
        const std::int64_t m = std::max<std::int64_t>(0, n - window), s = sinks;
        return window_pairs(n, window) + (m <= s ? m * (m + 1) / 2 : s * (s + 1) / 2 + s * (m - s));
    }
};

// ---- Sparse Transformer ---------------------------------------------------------------------------------------------

enum class Kind { strided, fixed };
enum class Part { merged, first, second, rest };  // rest: of the second what the first does not have

// Causal. Its first part is local: the last l positions (strided), or the own block of l (fixed). Its second part
// passes on what the first has gathered: every l-th position counted back from the own one (strided), or the last c
// positions of each block (fixed). Merged: the union of both; a key that is in both counts once.
struct SparseTransformerPattern : ByRemainder {
    Kind kind;
    int stride, summary;  // l, c
    Part part;

    SparseTransformerPattern(int length, Kind which, int l, int c, Part of)
        : ByRemainder{length}, kind(which), stride(l), summary(c), part(of) {}

    ATTN_HOST_DEVICE constexpr bool in_first(int i, int j) const {
        return kind == Kind::strided ? i - j < stride : i / stride == j / stride;
    }
    ATTN_HOST_DEVICE constexpr bool in_second(int i, int j) const {
        return kind == Kind::strided ? (i - j) % stride == 0 : j % stride >= stride - summary;
    }
    ATTN_HOST_DEVICE constexpr bool visible(int, int i, int j) const {
        if (j > i) return false;
        if (part == Part::rest) return in_second(i, j) && !in_first(i, j);
        return (part != Part::second && in_first(i, j)) || (part != Part::first && in_second(i, j));
    }
    // The first block has no summary before its last c positions; the first l rows have no rest.
    ATTN_HOST_DEVICE constexpr bool blind(int, int i) const {
        if (part == Part::rest) return i < stride;
        return part == Part::second && kind == Kind::fixed && i < stride - summary;
    }
    template <class Function>
    void for_each_run(int, int i, Function f) const {
        const int blocks = i / stride, within = i % stride;
        if (part != Part::first && kind == Kind::strided && blocks > 0) f(Run{within, blocks, stride});
        if (part != Part::first && kind == Kind::fixed)
            for (int block = 0; block < blocks; ++block) f(Run{(block + 1) * stride - summary, summary, 1});
        // The own block, or the last l positions; of the second part alone, what of these belongs to it.
        if (part == Part::rest) return;
        if (part != Part::second)
            f(kind == Kind::strided ? Run{std::max(0, i - stride + 1), std::min(i + 1, stride), 1}
                                    : Run{i - within, within + 1, 1});
        else if (kind == Kind::strided)
            f(Run{i, 1, 1});
        else if (within >= stride - summary)
            f(Run{i - within + stride - summary, within + 1 - (stride - summary), 1});
    }
    std::int64_t pairs() const {
        // n = q l + r: q whole blocks and a rest.
        const std::int64_t l = stride, c = summary, q = n / l, r = n % l;
        if (kind == Kind::strided) {
            const std::int64_t first = window_pairs(n, l), second = l * (q * (q + 1) / 2) + r * (q + 1);
            if (part == Part::rest) return second - n;  // all but the own position
            return part == Part::first ? first : part == Part::second ? second : first + second - n;
        }
        const std::int64_t first = q * (l * (l + 1) / 2) + r * (r + 1) / 2;  // triangles
        const std::int64_t before = c * (l * (q * (q - 1) / 2) + r * q);     // summaries of the blocks before
        const std::int64_t rest = std::max<std::int64_t>(0, r - (l - c));
        const std::int64_t own = q * (c * (c + 1) / 2) + rest * (rest + 1) / 2;  // summaries of the own block
        if (part == Part::rest) return before;
        return part == Part::first ? first : part == Part::second ? before + own : first + before;
    }
    int longest_row() const {
        const int blocks = (n - 1) / stride, first = std::min(n, stride);
        const int second = kind == Kind::strided ? blocks + 1 : std::min(n, (blocks + 1) * summary);
        return part == Part::first ? first : part == Part::merged ? std::min(n, first + second) : second;
    }
};

// ---- Longformer -----------------------------------------------------------------------------------------------------

// Global tokens, ascending, and for each position whether it is one.
struct GlobalTokens {
    std::vector<int> tokens, marks;

    GlobalTokens(std::vector<int> list, int n) : tokens(std::move(list)), marks(static_cast<std::size_t>(n)) {
        std::sort(tokens.begin(), tokens.end());
        for (int token : tokens) marks[static_cast<std::size_t>(token)] = 1;
    }
};

// A query sees the keys that are 0 … w steps of `dilation` away, to both sides, and the global tokens; a global token
// sees all. Causal: of these, what is not later.
struct LongformerPattern : ByRemainder {
    int radius, dilation;
    bool causal;
    TensorView<const int, 1> tokens, marks;  // of GlobalTokens; `tokens` may be absent

    LongformerPattern(int length, int w, int d, bool is_causal, const GlobalTokens& global)
        : ByRemainder{length},
          radius(w),
          dilation(d),
          causal(is_causal),
          tokens(global.tokens.data(), {{static_cast<int>(global.tokens.size())}}),
          marks(global.marks.data(), {{static_cast<int>(global.marks.size())}}) {}

    ATTN_HOST_DEVICE constexpr bool is_global(int i) const { return marks(i) != 0; }
    ATTN_HOST_DEVICE constexpr bool in_band(int i, int j) const {
        const int distance = i < j ? j - i : i - j;
        return distance % dilation == 0 && distance / dilation <= radius;
    }
    ATTN_HOST_DEVICE constexpr bool visible(int, int i, int j) const {
        return !(causal && j > i) && (in_band(i, j) || is_global(j) || is_global(i));
    }
    ATTN_HOST_DEVICE static constexpr bool blind(int, int) { return false; }

    struct Key {
        int j;
        bool is_global;
    };
    ATTN_HOST_DEVICE constexpr Key look_at(int j) const { return {j, is_global(j)}; }

    // How many keys of the band are in front of position i, and behind it.
    int before(int i) const { return std::min(radius, i / dilation); }
    int after(int i) const { return causal ? 0 : std::min(radius, (n - 1 - i) / dilation); }

    template <class Function>
    void for_each_run(int, int i, Function f) const {
        if (is_global(i)) return f(Run{0, causal ? i + 1 : n, 1});
        f(Run{i - before(i) * dilation, before(i) + 1 + after(i), dilation});
        for (int t = 0; t < tokens.extent(0); ++t)
            if (!(causal && tokens(t) > i) && !in_band(i, tokens(t))) f(Run{tokens(t), 1, 1});
    }
    // The band, the rows and the columns of the global tokens; what is in two of them is taken off again.
    std::int64_t pairs() const {
        const std::int64_t G = tokens.extent(0), steps = std::min(radius, (n - 1) / dilation);
        // Σ over t = 1 … w of n - t · dilation: how often a position has a t-th step in front of it.
        const std::int64_t one_side = steps * n - dilation * (steps * (steps + 1) / 2);
        std::int64_t count = n + (causal ? 1 : 2) * one_side;
        for (int t = 0; t < G; ++t) {
            const int g = tokens(t);
            const std::int64_t row = causal ? g + 1 : n, column = causal ? n - g : n;
            const int back = before(g), ahead = std::min(radius, (n - 1 - g) / dilation);
            const std::int64_t band_row = back + 1 + (causal ? 0 : ahead),
                               band_column = ahead + 1 + (causal ? 0 : back);
            count += row + column - band_row - band_column;
            // Pairs of two global tokens are in a row and in a column; those of the band were taken off twice as well.
            for (int u = 0; u < G; ++u) count -= !(causal && tokens(u) > g) && !in_band(g, tokens(u));
        }
        return count;
    }
};

// What the two launches of Longformer's kernel have of it: the rows of the other tokens, and those of the global ones.
// (pairs() is that of both.)
struct LongformerLocal : LongformerPattern {
    explicit LongformerLocal(const LongformerPattern& whole) : LongformerPattern(whole) {}

    ATTN_HOST_DEVICE constexpr bool blind(int, int i) const { return is_global(i); }
    ATTN_HOST_DEVICE constexpr bool visible(int, int i, const Key& key) const {
        return !(causal && key.j > i) && (key.is_global || in_band(i, key.j));
    }
    ATTN_HOST_DEVICE constexpr bool visible(int h, int i, int j) const {
        return !blind(h, i) && visible(h, i, look_at(j));
    }
    template <class Function>
    void for_each_run(int h, int i, Function f) const {
        if (!blind(h, i)) LongformerPattern::for_each_run(h, i, f);
    }
};
struct LongformerGlobal : LongformerPattern {
    explicit LongformerGlobal(const LongformerPattern& whole) : LongformerPattern(whole) {}

    ATTN_HOST_DEVICE constexpr int query(int row) const { return tokens(row); }
    ATTN_HOST_DEVICE constexpr int look_at(int j) const { return j; }
    ATTN_HOST_DEVICE constexpr bool visible(int, int i, int j) const { return !causal || j <= i; }
};

// ---- BigBird --------------------------------------------------------------------------------------------------------

// Blocks of positions: the first and the last see all and are seen by all; the others see themselves, their two
// neighbours and `random_blocks` [H, n/block, r] of their row, where -1 is none. A block that is named twice counts
// once.
struct BigBirdPattern : InOrder {
    int n, block;
    TensorView<const std::int64_t, 3> random_blocks;

    ATTN_HOST_DEVICE constexpr int blocks() const { return n / block; }
    ATTN_HOST_DEVICE constexpr bool is_end(int I) const { return I == 0 || I == blocks() - 1; }
    ATTN_HOST_DEVICE constexpr bool in_fixed(int I, int J) const {
        return is_end(I) || is_end(J) || (I - J <= 1 && J - I <= 1);
    }
    ATTN_HOST_DEVICE constexpr bool visible(int h, int i, int j) const {
        const int I = i / block, J = j / block;
        if (in_fixed(I, J)) return true;
        for (int t = 0; t < random_blocks.extent(2); ++t)
            if (random_blocks(h, I, t) == J) return true;
        return false;
    }
    ATTN_HOST_DEVICE static constexpr bool blind(int, int) { return false; }
    template <class Function>
    void for_each_run(int h, int i, Function f) const {
        const int I = i / block;
        if (is_end(I)) return f(Run{0, n, 1});
        const auto f_block = [&](int J) { f(Run{J * block, block, 1}); };
        f_block(0);
        for (int J = std::max(1, I - 1); J <= std::min(I + 1, blocks() - 2); ++J) f_block(J);
        f_block(blocks() - 1);
        for (int t = 0; t < random_blocks.extent(2); ++t)
            if (is_new(h, I, t)) f_block(static_cast<int>(random_blocks(h, I, t)));
    }
    // Whether the t-th random block of a row is one, and neither fixed nor named before.
    bool is_new(int h, int I, int t) const {
        const std::int64_t J = random_blocks(h, I, t);
        bool is_known = J < 0 || in_fixed(I, static_cast<int>(J));
        for (int u = 0; u < t; ++u) is_known = is_known || random_blocks(h, I, u) == J;
        return !is_known;
    }
    // Of all heads. Two rows of all blocks; in between 5 in each row, but 4 beside an end; and the random ones.
    std::int64_t pairs() const {
        const std::int64_t nb = blocks(), H = random_blocks.extent(0);
        std::int64_t count = H * (nb <= 4 ? nb * nb : 2 * nb + 5 * (nb - 2) - 2);
        for (int h = 0; h < H; ++h)
            for (int I = 1; I < nb - 1; ++I)
                for (int t = 0; t < random_blocks.extent(2); ++t) count += is_new(h, I, t);
        return count * block * block;
    }
    int longest_row() const { return n; }
};

}  // namespace attn::fixed_sparse
