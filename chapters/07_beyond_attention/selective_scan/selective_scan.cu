// The selective scan on the GPU, stage 3: each number crosses the bus once. A thread has a channel with its state in
// registers and takes the tokens one after the other, as in stage 1; but a block has 256 channels and brings 16 tokens
// of all of them into shared memory with 16-byte loads, beside the B and C that they have in common. Stage 2 reads B
// and C anew for each channel.
#include "chapters/07_beyond_attention/selective_scan/selective_scan.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/vector_access.hpp"
#include "common/cuda/warp.hpp"

namespace attn::selective_scan {
namespace {

constexpr int block_threads = 256, tile_tokens = 16, tile_fours = tile_tokens / 4;
constexpr int most_states = 256;  // of a channel: 16 lanes with 16 each

// Where the four tokens `four` of a row of the tile stand. The fours of a row change places by its number (an XOR
// swizzle), so that eight lanes that load two rows, and eight that read four tokens of their rows, meet in no bank.
__device__ int place(int row, int four) { return row * tile_tokens + (four ^ (row / 2 % tile_fours)) * 4; }

// Tokens first … first + 15 of `rows` rows of L tokens, into or out of a tile. row_at(row): where a row begins, null
// where there is none.
template <bool Aligned, class RowAt>
__device__ void load_tile(float* tile, int rows, int first, int L, RowAt row_at) {
    for (int index = static_cast<int>(threadIdx.x); index < rows * tile_fours; index += block_threads) {
        const int row = index / tile_fours, four = index % tile_fours;
        const float* from = row_at(row);
        *reinterpret_cast<float4*>(&tile[place(row, four)]) =
            from ? load_four<Aligned>(from, first + 4 * four, L) : make_float4(0, 0, 0, 0);
    }
}
template <bool Aligned, class RowAt>
__device__ void store_tile(const float* tile, int rows, int first, int L, RowAt row_at) {
    for (int index = static_cast<int>(threadIdx.x); index < rows * tile_fours; index += block_threads) {
        const int row = index / tile_fours, four = index % tile_fours;
        if (float* to = row_at(row))
            store_four<Aligned>(to, first + 4 * four, L, *reinterpret_cast<const float4*>(&tile[place(row, four)]));
    }
}

// Tokens first … first + 15 of b or c of one sequence, [S, L], as rows of one token each: [16, stride], 0 behind S up
// to a multiple of four. Neighbouring lanes have neighbouring rows of b, so that their stores meet in no bank.
template <bool Aligned>
__device__ void load_transposed_tile(float* tile, int stride, int S, int first, TensorView<const float, 2> from) {
    const int rows = (S + 3) / 4 * 4;
    for (int index = static_cast<int>(threadIdx.x); index < rows * tile_fours; index += block_threads) {
        const int s = index % rows, four = index / rows;
        const float4 tokens =
            s < S ? load_four<Aligned>(&from(s, 0), first + 4 * four, from.extent(1)) : make_float4(0, 0, 0, 0);
        float* to = &tile[4 * four * stride + s];
        to[0] = tokens.x, to[stride] = tokens.y, to[2 * stride] = tokens.z, to[3 * stride] = tokens.w;
    }
}

// A block: 256 / lanes channels of a sequence, one for each `lanes` neighbouring threads, which share its numbers of
// state in groups of four: lane i has groups i, i + lanes, ….
template <int Groups, bool Aligned>
__global__ void __launch_bounds__(block_threads, 1)
    scan_tiles(Inputs<float> in, Options options, Outputs<float> out, int lanes) {
    extern __shared__ __align__(16) float memory[];
    const Sizes size = in.sizes();
    const int channels = block_threads / lanes, blocks = (size.D + channels - 1) / channels,
              stride = row_stride(size.S);
    float *u = memory, *delta = u + channels * tile_tokens, *z = delta + channels * tile_tokens;  // [channels, 16]
    float *b_tile = z + channels * tile_tokens, *c_tile = b_tile + tile_tokens * stride;          // [16, stride]
    const int b = static_cast<int>(blockIdx.x) / blocks,
              first_channel = static_cast<int>(blockIdx.x) % blocks * channels;
    const int own = static_cast<int>(threadIdx.x) / lanes, lane = static_cast<int>(threadIdx.x) % lanes;
    const int d = first_channel + own;
    const bool has_channel = d < size.D;
    const float bias = has_channel ? bias_of(in, d) : 0, skip = has_channel ? skip_of(in, d) : 0;

    float a[Groups][4], h[Groups][4];
#pragma unroll
    for (int g = 0; g < Groups; ++g) {
        const int s = 4 * (lane + g * lanes);
        const float4 rates = has_channel ? load_four<Aligned>(&in.a(d, 0), s, size.S) : make_float4(0, 0, 0, 0);
        const float4 state = has_channel && in.initial_state ? load_four<Aligned>(&in.initial_state(b, d, 0), s, size.S)
                                                             : make_float4(0, 0, 0, 0);
        a[g][0] = rates.x, a[g][1] = rates.y, a[g][2] = rates.z, a[g][3] = rates.w;
        h[g][0] = state.x, h[g][1] = state.y, h[g][2] = state.z, h[g][3] = state.w;
    }

    for (int first = 0; first < size.L; first += tile_tokens) {
        const auto rows_of = [&](const auto& tensor) {
            return [&](int row) { return first_channel + row < size.D ? &tensor(b, first_channel + row, 0) : nullptr; };
        };
        load_tile<Aligned>(u, channels, first, size.L, rows_of(in.u));
        load_tile<Aligned>(delta, channels, first, size.L, rows_of(in.delta));
        if (in.z) load_tile<Aligned>(z, channels, first, size.L, rows_of(in.z));
        load_transposed_tile<Aligned>(b_tile, stride, size.S, first, in.b.slice(b));
        load_transposed_tile<Aligned>(c_tile, stride, size.S, first, in.c.slice(b));
        __syncthreads();  // the tiles are complete

        for (int four = 0; four < tile_fours && first + 4 * four < size.L; ++four) {
            float tokens[4], steps[4], gates[4] = {}, y[4] = {};
            const auto take_four = [&](const float* tile, float* to) {
                const float4 x = *reinterpret_cast<const float4*>(&tile[place(own, four)]);
                to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
            };
            take_four(u, tokens), take_four(delta, steps);
            if (in.z) take_four(z, gates);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int t = 4 * four + i;
                if (first + t >= size.L) break;
                const float step = step_size(in, options, steps[i], bias);
#pragma unroll
                for (int g = 0; g < Groups; ++g) {
                    const int group = lane + g * lanes;
                    if (4 * group >= size.S) continue;
                    const float4 enters = *reinterpret_cast<const float4*>(&b_tile[t * stride + 4 * group]);
                    const float4 reads = *reinterpret_cast<const float4*>(&c_tile[t * stride + 4 * group]);
                    const float bs[4] = {enters.x, enters.y, enters.z, enters.w};
                    const float cs[4] = {reads.x, reads.y, reads.z, reads.w};
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        if (!Aligned && 4 * group + k >= size.S) continue;
                        // [19.4.7-8] [19.4.7-9]
                        const Pair pair = step_of(options, step, a[g][k], bs[k], tokens[i]);
                        h[g][k] = fmaf(pair.fades, h[g][k], pair.enters);
                        y[i] = fmaf(cs[k], h[g][k], y[i]);
                    }
                }
                for (int distance = lanes / 2; distance > 0; distance /= 2)
                    y[i] += __shfl_xor_sync(all_lanes, y[i], distance);
                y[i] = finished(in, y[i], skip, tokens[i], gates[i]);
            }
            __syncwarp();  // all lanes of a channel have read its u
            if (lane == 0) *reinterpret_cast<float4*>(&u[place(own, four)]) = make_float4(y[0], y[1], y[2], y[3]);
        }
        __syncthreads();  // the tile of u holds the answers
        store_tile<Aligned>(u, channels, first, size.L, rows_of(out.out));
        __syncthreads();  // nobody reads the tiles any more
    }
#pragma unroll
    for (int g = 0; g < Groups; ++g)
        if (has_channel)
            store_four<Aligned>(&out.last_state(b, d, 0), 4 * (lane + g * lanes), size.S,
                                make_float4(h[g][0], h[g][1], h[g][2], h[g][3]));
}

template <int Groups>
void launch_scan(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    int lanes = 1;
    while (lanes * 4 * Groups < size.S) lanes *= 2;
    const int channels = block_threads / lanes;
    const std::size_t numbers = static_cast<std::size_t>(tile_tokens) * (3 * channels + 2 * row_stride(size.S));
    launch(size.L % 4 == 0 && size.S % 4 == 0 ? scan_tiles<Groups, true> : scan_tiles<Groups, false>,
           {static_cast<unsigned>(size.B) * blocks_for(size.D, channels), block_threads, numbers * sizeof(float)}, in,
           options, out, lanes);
}

}  // namespace

inline namespace ATTN_BUILD {

void scan_on_device(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const int S = in.sizes().S;
    if (S <= 4)
        launch_scan<1>(in, options, out);
    else if (S <= 8)
        launch_scan<2>(in, options, out);
    else if (S <= most_states)
        launch_scan<4>(in, options, out);
    else
        scan_chunks_on_device(in, options, out);
}

}  // namespace ATTN_BUILD
}  // namespace attn::selective_scan

ATTN_CUDA_VERSION("selective_scan", "stage3", "256 channels share B and C; states in registers, 16-byte loads",
                  attn::selective_scan::scan_on_device, attn::selective_scan::Inputs<float>,
                  attn::selective_scan::Options, attn::selective_scan::Outputs<float>)
