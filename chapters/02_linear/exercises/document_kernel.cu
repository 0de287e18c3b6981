// Exercise document_kernel: causal linear attention over sequences of several documents, with the state kept on chip.
//
//     out(i) = Σ (φ(q(i))·φ(k(j))) v(j) / Σ φ(q(i))·φ(k(j))      over the tokens j <= i of the document of i
//     φ(x) = x + 1 for x > 0, exp(x) otherwise                   of each element: elu(x) + 1
//
// CUDA, about 75 minutes, hard. Builds on: document_recurrence and document_chunks, which compute the same on the CPU;
// scores_kernel of chapter 00. Training packs several documents into one sequence; a state that is not reset between
// them lets one read the other.
//
// What to write: a kernel with one block for each sequence and head, and its launch. The block goes through the
// sequence in chunks. What it must know of all tokens before a chunk are the state S = Σ φ(k) vᵀ and the normalizer
// z = Σ φ(k) of the document that goes on. For example, with chunks of 32 tokens, four of them for each of eight warps:
//   1. The block loads φ(q), φ(k) and v of the chunk into shared memory, and where documents begin.
//   2. Lane x of a warp multiplies key x with the warp's queries: their weights within the chunk.
//   3. The warp adds up the weights, and the values times these: lane x has the columns x and x + 32. Where the query's
//      document began in an earlier chunk, φ(q)·z and φ(q) S are added. It divides, and stores.
//   4. The block brings S and z up to date with the tokens of the chunk's last document.
//   After the last chunk it stores S and z. 64 tokens in a chunk, or a state in registers, are as good.
//   Each number of q, k and v is loaded from device memory once, neighbouring threads taking neighbouring numbers. Only
//   the outputs are written there: no n x n matrix, and no state before the end.
//
// Mind:
//   - Borders lie anywhere: several in one chunk, one at each token, none at all.
//   - What is not seen may be NaN, and 0 · NaN is NaN: of other documents, and of later positions.
//   - Elements may be -30, even all that a query sees, and out is a mean of values all the same; expm1f(x) + 1 is 0
//     below -17.
//   - N, D and Dv are no multiples of anything. φ(0) is 1: a token that does not exist must not be counted.
//   - One barrier in a chunk is not enough: what is read in one of the four steps, and overwritten in the next, or in
//     the first of the next chunk?
#include "chapters/02_linear/exercises/document_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_kernel {

// ---- your code ----

namespace {

constexpr int warps = 8, block_threads = 32 * warps;

[[maybe_unused]] __global__ void attend_in_chunks(Inputs, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void document_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("document_kernel");  // TODO: launch(attend_in_chunks, {grid, block}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::document_kernel
