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
constexpr int chunk = 32;            // tokens: a key for each lane
constexpr int rows = chunk / warps;  // queries of a warp
constexpr int most_numbers = 64;     // of a query, a key, and a value
constexpr int columns = most_numbers / 32;

__device__ float feature(float x) { return x > 0 ? x + 1 : expf(x); }

// Where in the chunk the document of token `row` begins; -1: in an earlier chunk. Bit j: a document begins at token j.
__device__ int beginning(unsigned borders, int row) {
    return 31 - __clz(static_cast<int>(borders & ((2u << row) - 1)));
}

__global__ void attend_in_chunks(Inputs in, Outputs out) {
    __shared__ float queries[chunk][most_numbers];
    __shared__ float keys[chunk][most_numbers + 1];  // one more: 32 lanes read one depth of 32 keys, in 32 banks
    __shared__ float values[chunk][most_numbers];
    __shared__ float state[most_numbers][most_numbers], normalizer[most_numbers];  // of the document that goes on
    __shared__ int begins[chunk];
    const int H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    const int b = static_cast<int>(blockIdx.x) / H, h = static_cast<int>(blockIdx.x) % H;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;

    for (int first = 0; first < N; first += chunk) {
        const int count = min(chunk, N - first);
        if (thread < chunk) {
            const int i = first + thread;  // with token 0 a document begins: no state is read that nobody wrote
            begins[thread] = thread < count && (i == 0 || in.document(b, i) != in.document(b, i - 1));
        }
        for (int place = thread; place < count * D; place += block_threads) {
            const int row = place / D, d = place % D;
            queries[row][d] = feature(in.q(b, h, first + row, d));
            keys[row][d] = feature(in.k(b, h, first + row, d));
        }
        for (int place = thread; place < count * Dv; place += block_threads)
            values[place / Dv][place % Dv] = in.v(b, h, first + place / Dv, place % Dv);
        __syncthreads();  // the chunk is complete, and so is the state of before
        const unsigned borders = __ballot_sync(all_lanes, begins[lane]);

        for (int r = 0; r < rows; ++r) {
            const int row = warp * rows + r;
            if (row >= count) break;  // the warp together
            const int from = beginning(borders, row);
            float weight = 0;
            if (lane <= row)
                for (int d = 0; d < D; ++d) weight += queries[row][d] * keys[lane][d];
            float part = weight;  // of the sum of all weights
            if (from < 0)
                for (int d = lane; d < D; d += 32) part += queries[row][d] * normalizer[d];
            const float sum = warp_sum(part);

            float weighted[columns] = {};
            for (int j = 0; j <= row; ++j) {
                const float of_key = __shfl_sync(all_lanes, weight, j);
                for (int c = 0; c < columns; ++c)
                    if (lane + 32 * c < Dv) weighted[c] += of_key * values[j][lane + 32 * c];
            }
            if (from < 0)
                for (int d = 0; d < D; ++d)
                    for (int c = 0; c < columns; ++c)
                        if (lane + 32 * c < Dv) weighted[c] += queries[row][d] * state[d][lane + 32 * c];
            for (int c = 0; c < columns; ++c)
                if (lane + 32 * c < Dv) out.out(b, h, first + row, lane + 32 * c) = weighted[c] / sum;
        }

        __syncthreads();                                 // nobody reads the state of before any more
        const int from = beginning(borders, count - 1);  // of the document that goes on
        for (int d = warp; d < D; d += warps)
            for (int column = lane; column < Dv; column += 32) {
                float sum = from < 0 ? state[d][column] : 0;
                for (int j = max(from, 0); j < count; ++j) sum += keys[j][d] * values[j][column];
                state[d][column] = sum;
            }
        if (thread < D) {
            float sum = from < 0 ? normalizer[thread] : 0;
            for (int j = max(from, 0); j < count; ++j) sum += keys[j][thread];
            normalizer[thread] = sum;
        }
        __syncthreads();  // nobody reads the chunk any more
    }

    for (int d = warp; d < D; d += warps)
        for (int column = lane; column < Dv; column += 32) out.state(b, h, d, column) = state[d][column];
    if (thread < D) out.normalizer(b, h, thread) = normalizer[thread];
}

}  // namespace

inline namespace ATTN_BUILD {

void document_kernel(const Inputs& in, const Options&, const Outputs& out) {
    const unsigned heads = static_cast<unsigned>(in.q.extent(0) * in.q.extent(1));
    launch(attend_in_chunks, {heads, block_threads}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::document_kernel
