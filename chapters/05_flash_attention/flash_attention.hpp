// FlashAttention, the interface: dense attention to the letter, tile by tile, so that the n × n matrix never exists.
//
//     for each tile of keys:   m' = max(m, scores of the tile)          the largest score so far
//                              P  = exp(scores - m')                    the weights of the tile, not normalised yet
//                              l' = exp(m - m') l + Σ P                 what was summed up before shrinks
//                              O' = exp(m - m') O + P V
//     at the end:              out = O / l,   log_sum_exp = m + log l
//
// Book 19.4, family 5. Dao et al. 2022, "FlashAttention" (arXiv 2205.14135), algorithms 1 and 4; Dao 2023,
// "FlashAttention-2" (arXiv 2307.08691), algorithms 1 and 2.
#pragma once

#include "chapters/00_dense_attention/dense_attention.hpp"

namespace attn::flash_attention {

// It is the same function: the tensors, their shapes, the mask and the mapping of heads are those of dense attention.
using dense::check_shapes;
using dense::Inputs;
using dense::Outputs;
using dense::Sizes;

struct Options {
    bool causal = false;  // query i sees keys j <= i + (Nk - Nq)
    double scale = 1;     // usually 1/sqrt(D)
};

// How many queries and how many keys are looked at together. Key tiles begin at key 0, wherever the queries are: then
// a row has one order of sums, whether it is computed alone or with others.
struct Tiles {
    int Br = 64, Bc = 64;
};

// Throws ShapeError where a tile would be empty.
inline void check_tiles(const Tiles& tiles) {
    if (tiles.Br < 1 || tiles.Bc < 1)
        throw ShapeError("tiles have " + std::to_string(tiles.Br) + " queries and " + std::to_string(tiles.Bc) +
                         " keys, expected at least 1 of both");
}

constexpr int tiles_of(int positions, int width) { return positions / width + (positions % width != 0); }

// Which loop is outside. FlashAttention-1 goes through the key tiles once, and through all queries for each; it keeps
// out normalised, and carries out, l and m through memory. FlashAttention-2 turns that round: the state of a query tile
// stays where it is, and the division comes last.
enum class LoopOrder { key_tiles_outside, query_tiles_outside };

// ---- what the naive version costs, forward, exactly -----------------------------------------------------------------

// How many pairs of a row and a key tile there are in which the row sees a key: each costs a rescaling.
inline std::int64_t row_tiles(const Sizes& s, bool causal, const Tiles& tiles) {
    std::int64_t count = 0;
    for (int i = 0; i < s.Nq; ++i) count += tiles_of(s.visible_keys(i, causal), tiles.Bc);
    return count;
}

// What is held beside inputs and outputs does not grow with n in FlashAttention-2's order: the scores of a tile, and
// the state of its rows. In FlashAttention-1's order the state of all rows of a head is added: l and m.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes, const Tiles& tiles = {},
                          LoopOrder order = LoopOrder::query_tiles_outside) {
    const std::int64_t heads = std::int64_t{s.B} * s.H;
    const std::int64_t seen = heads * dense::pairs(s, options.causal);
    const std::int64_t visits = heads * row_tiles(s, options.causal, tiles);
    const std::int64_t rows = heads * (options.causal ? std::min(s.Nq, s.Nk) : s.Nq);  // that see a key
    const std::int64_t Br = std::min(tiles.Br, s.Nq), Bc = std::min(tiles.Bc, s.Nk), Dv = s.Dv;
    Costs costs;
    costs.multiply_adds = seen * (s.D + Dv);
    costs.multiplications = seen + visits * (1 + Dv);  // by the scale; of l and O by the factor
    costs.comparisons = seen + visits;                 // for the maximum; is it still -inf?
    costs.exponentials = seen + visits;                // the factor
    costs.additions = 2 * seen + visits + rows;        // minus the maximum, twice; their sum; maximum + log of the sum
    costs.logarithms = rows;
    costs.divisions = rows * Dv;                     // dense divides each weight: Nk times for a row, not Dv times
    std::int64_t held = Br * Bc + Br * Dv + 3 * Br;  // scores; O; m, l and the factor
    if (order == LoopOrder::key_tiles_outside) {
        // Each tile's own result is made as above, and then joined to what the rows had.
        costs.multiplications += visits * (1 + Dv);
        costs.multiply_adds += visits * (1 + Dv);
        costs.comparisons += 3 * visits;
        costs.exponentials += 2 * visits;
        costs.additions += 2 * visits;
        costs.divisions = visits * Dv;
        held += 2 * s.Nq;
    }
    costs.bytes_held = held * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// ---- what is moved between the large memory and the multiprocessors -------------------------------------------------
// In numbers, for one head, forward, if nothing is cached on the way and nothing is masked. With N = Nq = Nk and
// d = D = Dv they are the formulas in brackets.

// Dense attention in three kernels: reads Q and K, writes the scores; reads them, writes the weights; reads these and
// V, writes out. [4Nd + 4N²]
constexpr std::int64_t numbers_moved_dense(const Sizes& s) {
    const std::int64_t Nq = s.Nq, Nk = s.Nk;
    return (Nq + Nk) * (s.D + s.Dv) + 4 * Nq * Nk;
}

// FlashAttention-1: K and V once; for each of the Tc = ⌈Nk/Bc⌉ key tiles, Q is read, and out, l and m are read and
// written. [2Nd + Tc(3Nd + 4N)]
constexpr std::int64_t numbers_moved_flash1(const Sizes& s, int Bc) {
    const std::int64_t Nq = s.Nq, Nk = s.Nk;
    return Nk * (s.D + s.Dv) + tiles_of(s.Nk, Bc) * Nq * (s.D + 2 * std::int64_t{s.Dv} + 4);
}

// FlashAttention-2: Q is read and out and log_sum_exp are written once; each of the Tr = ⌈Nq/Br⌉ query tiles reads K
// and V. [2Nd + N + Tr·2Nd]
constexpr std::int64_t numbers_moved_flash2(const Sizes& s, int Br) {
    const std::int64_t Nq = s.Nq, Nk = s.Nk;
    return Nq * (s.D + s.Dv + 1) + tiles_of(s.Nq, Br) * Nk * (s.D + s.Dv);
}

// The same with the causal mask: a query tile reads key tiles, whole ones, up to the last key that its last row sees.
constexpr std::int64_t numbers_moved_flash2_causal(const Sizes& s, const Tiles& tiles) {
    std::int64_t keys = 0;
    for (int first = 0; first < s.Nq; first += tiles.Br) {
        const int last = std::min(first + tiles.Br, s.Nq) - 1;
        keys += std::min(tiles_of(s.visible_keys(last, true), tiles.Bc) * tiles.Bc, s.Nk);
    }
    return std::int64_t{s.Nq} * (s.D + s.Dv + 1) + keys * (s.D + s.Dv);
}

// Algorithm 1 of the first paper chooses its tiles such that four of them fit into M numbers of fast memory:
// Bc = ⌈M/4d⌉, Br = min(Bc, d).
constexpr Tiles tiles_of_flash1(int fast_numbers, int d) {
    const int Bc = tiles_of(fast_numbers, 4 * d);
    return {std::min(Bc, d), Bc};
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::flash_attention
