// Wrong: the kernel of the chapter (grouped_query.cu), for one query and a cache in one piece: one window, one length.
#include "chapters/04_head_sharing/exercises/grouped_window_decode.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/vector_access.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::grouped_window_decode {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;
constexpr int rows_per_warp = 4, block_rows = warps * rows_per_warp;
constexpr int tile_keys = 32;            // a lane for each
constexpr int strip = 64;                // numbers of a row that are in shared memory at one time
constexpr int strip_stride = strip + 4;  // the rows of a strip start in different banks
constexpr int value_strips = 2;

// The exponential of a score, less the maximum so far. Where every score so far is -inf there is nothing to subtract.
__device__ float exp_above(float score, float maximum) { return expf(score - (maximum == -INFINITY ? 0.0f : maximum)); }

// Loads numbers first_column … of `rows` rows into a strip; 0 beyond the columns, and where a row is null.
template <class RowAt>
__device__ void load_strip(float (&to)[tile_keys][strip_stride], int first_column, int columns, RowAt row_at) {
    constexpr int fours = strip / 4;
    for (int place = threadIdx.x; place < tile_keys * fours; place += block_threads) {
        const int row = place / fours, column = place % fours * 4;
        const float* from = row_at(row);
        const float4 four = from ? load_four<false>(from, first_column + column, columns) : make_float4(0, 0, 0, 0);
        *reinterpret_cast<float4*>(&to[row][column]) = four;
    }
}

// [19.4.4-1] A block: the query heads of one group.
__global__ void __launch_bounds__(block_threads) attend(Inputs in, Options options, Outputs out) {
    __shared__ __align__(16) float of_keys[tile_keys][strip_stride];  // of keys, then of values
    __shared__ __align__(16) float weights[warps][rows_per_warp][tile_keys];
    extern __shared__ __align__(16) float queries[];  // [block_rows, D rounded up to 4]
    const int H = in.q.extent(1), G = in.k.extent(1), D = in.q.extent(3), Dv = in.v.extent(3);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int rows = H / G, length = in.k.extent(2), window = in.window(0);
    const int begin = window > 0 && length > window ? length - window : 0;
    const int g = static_cast<int>(blockIdx.x) % G, b = static_cast<int>(blockIdx.x) / G;

    const int query_stride = (D + 3) / 4 * 4;
    for (int place = threadIdx.x; place < block_rows * query_stride; place += block_threads) {
        const int row = place / query_stride, d = place % query_stride;
        queries[place] = row < rows && d < D ? in.q(b, g * rows + row, 0, d) : 0;
    }

    float maximum[rows_per_warp], sum[rows_per_warp] = {}, sums[rows_per_warp][2 * value_strips] = {};
    for (int r = 0; r < rows_per_warp; ++r) maximum[r] = -INFINITY;
    auto is_needed = [&](int key) { return key >= begin && key < length; };
    for (int first_key = begin / tile_keys * tile_keys; first_key < length; first_key += tile_keys) {
        // [19.4.4-2] scores: each lane has a key, and multiplies it with the queries of its warp
        float dots[rows_per_warp] = {};
        for (int first = 0; first < D; first += strip) {
            __syncthreads();  // nobody reads the strip before this one any more
            load_strip(of_keys, first, D,
                       [&](int key) { return is_needed(first_key + key) ? &in.k(b, g, first_key + key, 0) : nullptr; });
            __syncthreads();  // the strip is complete
            const int columns = min(strip, query_stride - first);
            for (int d = 0; d < columns; ++d)
                for (int r = 0; r < rows_per_warp; ++r)
                    dots[r] =
                        fmaf(queries[(warp * rows_per_warp + r) * query_stride + first + d], of_keys[lane][d], dots[r]);
        }

        // [19.4.4-3] weights, relative to the largest score so far; what was summed up before shrinks accordingly
        for (int r = 0; r < rows_per_warp; ++r) {
            const bool is_seen = is_needed(first_key + lane);
            const float score = is_seen ? static_cast<float>(options.scale) * dots[r] : -INFINITY;
            const float higher = fmaxf(maximum[r], warp_max(score));
            const float weight = is_seen ? exp_above(score, higher) : 0;
            const float factor = exp_above(maximum[r], higher);
            maximum[r] = higher;
            sum[r] = fmaf(sum[r], factor, warp_sum(weight));
            weights[warp][r][lane] = weight;
            for (int c = 0; c < 2 * value_strips; ++c) sums[r][c] *= factor;
        }
        __syncwarp();

        // [19.4.4-4] output: each lane has two columns of each strip of the values
        for (int s = 0; s < value_strips; ++s) {
            __syncthreads();
            load_strip(of_keys, s * strip, Dv,
                       [&](int key) { return is_needed(first_key + key) ? &in.v(b, g, first_key + key, 0) : nullptr; });
            __syncthreads();
            for (int key = 0; key < tile_keys; ++key) {
                if (!is_needed(first_key + key)) continue;
                for (int r = 0; r < rows_per_warp; ++r) {
                    const float weight = weights[warp][r][key];
                    sums[r][2 * s] = fmaf(weight, of_keys[key][lane], sums[r][2 * s]);
                    sums[r][2 * s + 1] = fmaf(weight, of_keys[key][lane + 32], sums[r][2 * s + 1]);
                }
            }
        }
        __syncwarp();  // the weights have been read
    }

    for (int r = 0; r < rows_per_warp; ++r) {
        const int row = warp * rows_per_warp + r;
        if (row >= rows) continue;
        for (int c = 0; c < 2 * value_strips; ++c) {
            const int column = c * 32 + lane;
            if (column < Dv) out.out(b, g * rows + row, 0, column) = sums[r][c] / sum[r];
        }
        if (lane == 0) out.log_sum_exp(b, g * rows + row, 0) = maximum[r] + logf(sum[r]);
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void grouped_window_decode(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned groups = static_cast<unsigned>(in.k.extent(0) * in.k.extent(1));
    const std::size_t query_bytes = block_rows * static_cast<std::size_t>((in.q.extent(3) + 3) / 4 * 4) * sizeof(float);
    launch(attend, {groups, block_threads, query_bytes}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::grouped_window_decode
