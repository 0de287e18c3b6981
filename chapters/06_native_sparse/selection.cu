// Native sparse attention on the GPU: attention to the selected blocks. A block of threads has one position and one
// key/value head: its query heads share what is loaded of the selected blocks. At the end, the gated sum.
#include "chapters/06_native_sparse/native_sparse.cuh"
#include "common/cuda/row_state.cuh"
#include "common/cuda/vector_access.hpp"

namespace attn::native_sparse {
namespace {

constexpr int tile_keys = 32;    // a lane has one
constexpr int value_strip = 64;  // columns of keys or values in shared memory at one time
constexpr int key_stride = row_stride(value_strip);

struct SharedMemory {
    float of_keys[tile_keys][key_stride];  // of keys, then of values
    float weights[warps][4][tile_keys];
    int tokens[tile_keys];
};

// [19.4.6-5] a block: one position, `heads` query heads of one group. Warp w has the rows w, w + 4 …: `Rows` of them.
template <int Rows, int ValueStrips, bool Aligned>
__global__ void __launch_bounds__(row_threads, 3) attend_to_blocks(Inputs<float> in, Options options, Range positions,
                                                                   int heads, int first_value, Outputs<float> out) {
    extern __shared__ __align__(16) unsigned char memory[];
    auto& [of_keys, weights, tokens] = *reinterpret_cast<SharedMemory*>(memory);
    float* queries = reinterpret_cast<float*>(memory + sizeof(SharedMemory));  // [heads, Dk rounded up to 4]
    const Sizes size = in.sizes();
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int chunks = (size.group() + heads - 1) / heads;
    const int first_head = static_cast<int>(blockIdx.x) % chunks * heads;
    const int t = positions.begin + static_cast<int>(blockIdx.x) / chunks % positions.count();
    const int g = static_cast<int>(blockIdx.x) / chunks / positions.count() % size.G;
    const int b = static_cast<int>(blockIdx.x) / chunks / positions.count() / size.G;
    const int rows = min(heads, size.group() - first_head);
    const int total = options.selected_keys(t);  // the own block is the last: these are the ones up to t
    load_rows_shared<Aligned, row_threads>(queries, (size.Dk + 3) / 4 * 4, rows, 0, size.Dk, size.Dk, [&](int row) {
        return &in.q(b, g * size.group() + first_head + row, t, 0);
    });

    RowState state[Rows];
    float sums[Rows][2 * ValueStrips] = {};
    for (int first_key = 0; first_key < total; first_key += tile_keys) {
        const int count = min(tile_keys, total - first_key);
        __syncthreads();  // nobody reads the tokens before these any more
        if (thread < count) {
            const int key = first_key + thread;
            tokens[thread] =
                out.selected(b, g, t, key / options.select_block) * options.select_block + key % options.select_block;
        }
        const auto row_of = [&](const TensorView<const float, 4>& tensor) {
            return [&](int key) { return key < count ? &tensor(b, g, tokens[key], 0) : nullptr; };
        };
        float dots[Rows] = {};
        for (int first = 0; first < size.Dk; first += value_strip) {
            __syncthreads();  // the tokens are known, and nobody reads the strip before this one any more
            load_rows_shared<Aligned, row_threads>(of_keys[0], key_stride, tile_keys, first, value_strip, size.Dk,
                                                   row_of(in.k_select));
            __syncthreads();  // the strip is complete
            const int columns = min(value_strip, (size.Dk + 3) / 4 * 4 - first);
#pragma unroll 2
            for (int d = 0; d < columns; d += 4) {
                const float4 k = *reinterpret_cast<const float4*>(&of_keys[lane][d]);
#pragma unroll
                for (int r = 0; r < Rows; ++r) {
                    const int row = min(warp + r * warps, rows - 1);
                    const float4 q =
                        *reinterpret_cast<const float4*>(&queries[row * ((size.Dk + 3) / 4 * 4) + first + d]);
                    dots[r] = fmaf(q.x, k.x, dots[r]), dots[r] = fmaf(q.y, k.y, dots[r]);
                    dots[r] = fmaf(q.z, k.z, dots[r]), dots[r] = fmaf(q.w, k.w, dots[r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            const float score = lane < count ? static_cast<float>(options.scale) * dots[r] : -INFINITY;
            const float maximum = fmaxf(state[r].maximum, warp_max(score));
            const float weight = lane < count ? exp_above(score, maximum) : 0;
            const float shrink = exp_above(state[r].maximum, maximum);
            state[r] = {maximum, fmaf(state[r].sum, shrink, warp_sum(weight))};
            weights[warp][r][lane] = weight;
#pragma unroll
            for (int column = 0; column < 2 * ValueStrips; ++column) sums[r][column] *= shrink;
        }
#pragma unroll
        for (int s = 0; s < ValueStrips; ++s) {
            __syncthreads();  // the weights are complete, and nobody reads the strip before this one any more
            load_rows_shared<Aligned, row_threads>(of_keys[0], key_stride, tile_keys, first_value + s * value_strip,
                                                   value_strip, size.Dv, row_of(in.v_select));
            __syncthreads();  // the strip is complete
            for (int key = 0; key < count; ++key) {
                const float left = of_keys[key][lane], right = of_keys[key][lane + 32];
#pragma unroll
                for (int r = 0; r < Rows; ++r) {
                    const float weight = weights[warp][r][key];
                    sums[r][2 * s] = fmaf(weight, left, sums[r][2 * s]);
                    sums[r][2 * s + 1] = fmaf(weight, right, sums[r][2 * s + 1]);
                }
            }
        }
    }

    // [19.4.6-7] the gated sum
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
        if (warp + r * warps >= rows) continue;
        const int h = g * size.group() + first_head + warp + r * warps;
        const float gate = lane < 3 ? in.gates(b, h, t, lane) : 0;
        const float g_compress = __shfl_sync(all_lanes, gate, 0), g_select = __shfl_sync(all_lanes, gate, 1),
                    g_window = __shfl_sync(all_lanes, gate, 2);
#pragma unroll
        for (int c = 0; c < 2 * ValueStrips; ++c) {
            const int column = first_value + c * 32 + lane;
            if (column >= size.Dv) continue;
            const float selected = sums[r][c] / state[r].sum;
            out.out_select(b, h, t, column) = selected;
            out.out(b, h, t, column) = fmaf(g_window, out.out_window(b, h, t, column),
                                            fmaf(g_select, selected, g_compress * out.out_compress(b, h, t, column)));
        }
    }
}

// `heads`: that share a block; all of a group, up to 16, or 1.
template <int Rows, int ValueStrips>
void launch_with(const Inputs<float>& in, const Options& options, const Range& positions, int heads, int first_value,
                 const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const auto blocks = blocks_for(size.group(), heads) * static_cast<unsigned>(positions.count() * size.G * size.B);
    const std::size_t query_bytes = static_cast<std::size_t>(heads * ((size.Dk + 3) / 4 * 4)) * sizeof(float);
    launch(size.Dk % 4 == 0 && size.Dv % 4 == 0 ? attend_to_blocks<Rows, ValueStrips, true>
                                                : attend_to_blocks<Rows, ValueStrips, false>,
           {blocks, row_threads, sizeof(SharedMemory) + query_bytes}, in, options, positions, heads, first_value, out);
}

}  // namespace

inline namespace ATTN_BUILD {

void attend_to_selected(const Inputs<float>& in, const Options& options, const Range& positions, int most_heads,
                        const Outputs<float>& out) {
    const int heads = std::min(in.sizes().group(), most_heads), Dv = in.sizes().Dv;
    for (int first = 0; first < Dv; first += 2 * value_strip) {
        const bool narrow = Dv - first <= value_strip;
        (heads <= warps ? narrow ? launch_with<1, 1> : launch_with<1, 2>
         : narrow ? launch_with<4, 1>
                        : launch_with<4, 2>)(in, options, positions, heads, first, out);
    }
}

}  // namespace ATTN_BUILD
}  // namespace attn::native_sparse
