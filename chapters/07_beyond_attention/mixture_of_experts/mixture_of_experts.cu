// A mixture of experts on the GPU, stage 2: dispatch. The tokens are put in the order of their experts, so that those
// of one expert are rows of a matrix product: its weights are read once for 64 of them. Then each token gathers what
// its experts have made of it, in the order of its choice.
//
//     choices    token 0: experts 2, 0     token 1: 2, 1     token 2: 0, 2        k for each token
//     places     0: token 0, 1: token 2 | 2: token 1 | 3: token 0, 4: token 1, 5: token 2
//                expert 0                 expert 1     expert 2
//
// A counting sort, in which nobody waits for an atomic counter: places, and so the sums, are the same on every run.
#include <algorithm>

#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/matrix_product.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::mixture_of_experts {
inline namespace ATTN_BUILD {
namespace {

constexpr int block_threads = 256, warps = block_threads / 32;
constexpr int chunk = block_threads;  // choices of one block that counts or places them

// Up to 64 tokens of one expert: places first … first + rows - 1.
struct TokenTile {
    int expert, first, rows;
};

// Where each choice (token, r) goes.
struct Dispatch {
    TensorView<const std::int32_t, 1> choices;  // [N·k]: the expert of each; choice c is token c / k's
    TensorView<int, 2> before;                  // [chunks, E]: choices of an expert, then those in the chunks before
    TensorView<int, 1> start;                   // [E]: the first place of each expert
    TensorView<TokenTile, 1> tiles;             // as many as there can be; the last ones may be without rows
    TensorView<int, 1> place, token;            // [N·k]: of each choice its place; of each place its token
};

// [19.4.7-20] is a matrix product. [19.4.7-21] [19.4.7-22]: a warp for each token
__global__ void choose_experts(TensorView<const float, 2> scores, Options options, TensorView<std::int32_t, 2> experts,
                               TensorView<float, 2> weights) {
    const int token = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (token >= scores.extent(0)) return;  // the whole warp together
    choose(&scores(token, 0), scores.extent(1), options, &experts(token, 0), &weights(token, 0));
}

// A block's chunk of the choices, into shared memory. Returns how many there are.
__device__ int load_chunk(int (&experts)[chunk], const Dispatch& to) {
    const int first = static_cast<int>(blockIdx.x) * chunk, own = static_cast<int>(threadIdx.x);
    const int count = min(chunk, to.choices.extent(0) - first);
    if (own < count) experts[own] = to.choices(first + own);
    __syncthreads();  // the chunk is complete
    return count;
}
__device__ int occurrences(int expert, const int (&experts)[chunk], int count) {
    int sum = 0;
    for (int c = 0; c < count; ++c) sum += experts[c] == expert;
    return sum;
}

// The histogram of each chunk: a thread for each expert.
__global__ void __launch_bounds__(block_threads) count_choices(Dispatch to) {
    __shared__ int experts[chunk];
    const int count = load_chunk(experts, to);
    for (int e = static_cast<int>(threadIdx.x); e < to.before.extent(1); e += block_threads)
        to.before(static_cast<int>(blockIdx.x), e) = occurrences(e, experts, count);
}

// The sum over the lanes before this one; `total` becomes that of all.
__device__ int sum_before(int own, int& total) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int sum = own;
    for (int distance = 1; distance < 32; distance *= 2) {
        const int other = __shfl_up_sync(all_lanes, sum, static_cast<unsigned>(distance));
        if (lane >= distance) sum += other;
    }
    total = __shfl_sync(all_lanes, sum, 31);
    return sum - own;
}

// One warp, a lane for each expert: exclusive prefix sums, over the chunks and over the experts.
__global__ void lay_out(Dispatch to) {
    const int lane = static_cast<int>(threadIdx.x), E = to.start.extent(0);
    int places = 0, tiles = 0;  // of the experts so far
    for (int first = 0; first < E; first += 32) {
        const int e = first + lane;
        int count = 0;
        for (int c = 0; e < E && c < to.before.extent(0); ++c) {
            const int in_chunk = to.before(c, e);
            to.before(c, e) = count;
            count += in_chunk;
        }
        const int own_tiles = (count + tile - 1) / tile;
        int all_places, all_tiles;
        const int start = places + sum_before(count, all_places);
        const int first_tile = tiles + sum_before(own_tiles, all_tiles);
        if (e < E) to.start(e) = start;
        for (int t = 0; t < own_tiles; ++t)
            to.tiles(first_tile + t) = {e, start + t * tile, min(tile, count - t * tile)};
        places += all_places, tiles += all_tiles;
    }
    for (int t = tiles + lane; t < to.tiles.extent(0); t += 32) to.tiles(t) = {0, 0, 0};
}

// A thread for each choice. Those of the same expert stay in their order.
__global__ void __launch_bounds__(block_threads) place_choices(Dispatch to, int top_k) {
    __shared__ int experts[chunk];
    const int count = load_chunk(experts, to), own = static_cast<int>(threadIdx.x);
    if (own >= count) return;
    const int e = experts[own], choice = static_cast<int>(blockIdx.x) * chunk + own;
    const int place = to.start(e) + to.before(static_cast<int>(blockIdx.x), e) + occurrences(e, experts, own);
    to.place(choice) = place;
    to.token(place) = choice / top_k;
}

// The block's tile of products: rows row_at(0) … row_at(63), null where there is none, times rows first_column …
// first_column + 63 of each matrix [columns, depth].
template <int Matrices, bool Aligned, class RowAt>
__device__ void multiply_tile(Sums (&sums)[Matrices], RowAt row_at, const float* const (&matrices)[Matrices],
                              int first_column, int columns, int depth) {
    __shared__ __align__(16) Strip of_rows, of_matrix[Matrices];
    auto all_columns = [&](int) { return depth; };
    for (int first = 0; first < depth; first += strip) {
        load_transposed<Aligned>(of_rows, first, row_at, all_columns);
#pragma unroll
        for (int m = 0; m < Matrices; ++m)
            load_transposed<Aligned>(
                of_matrix[m], first,
                [&](int row) {
                    return first_column + row < columns ? matrices[m] + std::int64_t{first_column + row} * depth
                                                        : nullptr;
                },
                all_columns);
        __syncthreads();  // the strips are complete
#pragma unroll 8
        for (int d = 0; d < strip; ++d)
#pragma unroll
            for (int m = 0; m < Matrices; ++m)
                add_outer_product(sums[m], *reinterpret_cast<const float4*>(&of_rows[d][swizzled(d, own_row())]),
                                  *reinterpret_cast<const float4*>(&of_matrix[m][d][swizzled(d, own_column())]));
        __syncthreads();  // nobody reads them any more
    }
}

// [19.4.7-23] hidden units of a tile of tokens: a block for each 64 of them, into units [place, Df].
template <bool Aligned>
__global__ void __launch_bounds__(tile_threads, 2)
    make_units(Inputs<float> in, Dispatch to, TensorView<float, 2> units) {
    __shared__ int tokens[tile];
    const TokenTile own = to.tiles(static_cast<int>(blockIdx.x));
    if (own.rows == 0) return;  // the whole block together
    const int thread = static_cast<int>(threadIdx.x), Dm = in.hidden.extent(2), Df = in.gate.extent(1);
    if (thread < own.rows) tokens[thread] = to.token(own.first + thread);
    __syncthreads();  // the tokens are known
    const int first_unit = static_cast<int>(blockIdx.y) * tile;
    Sums sums[2];
    multiply_tile<2, Aligned>(
        sums, [&](int row) { return row < own.rows ? in.hidden.data() + std::int64_t{tokens[row]} * Dm : nullptr; },
        {&in.gate(own.expert, 0, 0), &in.up(own.expert, 0, 0)}, first_unit, Df, Dm);
    const auto& [gate, up] = sums;
#pragma unroll
    for (int r = 0; r < per_thread; ++r)
        if (own_row() + r < own.rows)
            store_four<Aligned>(&units(own.first + own_row() + r, 0), first_unit + own_column(), Df,
                                make_float4(silu(gate.at[r][0]) * up.at[r][0], silu(gate.at[r][1]) * up.at[r][1],
                                            silu(gate.at[r][2]) * up.at[r][2], silu(gate.at[r][3]) * up.at[r][3]));
}

// [19.4.7-24] W_down units, a block for each 64 numbers of them, into results [place, Dm].
template <bool Aligned>
__global__ void __launch_bounds__(tile_threads, 2)
    make_results(Inputs<float> in, Dispatch to, TensorView<const float, 2> units, TensorView<float, 2> results) {
    const TokenTile own = to.tiles(static_cast<int>(blockIdx.x));
    if (own.rows == 0) return;  // the whole block together
    const int Dm = in.hidden.extent(2), Df = in.gate.extent(1), first_column = static_cast<int>(blockIdx.y) * tile;
    Sums sums[1];
    multiply_tile<1, Aligned>(
        sums, [&](int row) { return row < own.rows ? &units(own.first + row, 0) : nullptr; },
        {&in.down(own.expert, 0, 0)}, first_column, Dm, Df);
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const float(&row)[per_thread] = sums[0].at[r];
        if (own_row() + r < own.rows)
            store_four<Aligned>(&results(own.first + own_row() + r, 0), first_column + own_column(), Dm,
                                make_float4(row[0], row[1], row[2], row[3]));
    }
}

// [19.4.7-24] the weighted sum of what a token's experts have made of it, in their order: a thread for four numbers.
template <bool Aligned>
__global__ void gather(Dispatch to, TensorView<const float, 2> weights, TensorView<const float, 2> results,
                       TensorView<float, 2> out) {
    const int Dm = out.extent(1), fours = (Dm + 3) / 4, k = weights.extent(1);
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{out.extent(0)} * fours) return;
    const int token = static_cast<int>(index / fours), d = static_cast<int>(index % fours) * 4;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int r = 0; r < k; ++r) {
        const float weight = weights(token, r);
        const float4 result = load_four<Aligned>(&results(to.place(token * k + r), 0), d, Dm);
        sum.x = fmaf(weight, result.x, sum.x), sum.y = fmaf(weight, result.y, sum.y);
        sum.z = fmaf(weight, result.z, sum.z), sum.w = fmaf(weight, result.w, sum.w);
    }
    store_four<Aligned>(&out(token, 0), d, Dm, sum);
}

// The most tiles that so many choices can have: each expert's last one may be hardly filled.
int most_tiles(int choices, int E) {
    const int experts = std::min(choices, E);  // that have any
    return experts + (choices - experts) / tile;
}

}  // namespace

void feed_forward(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const auto [B, N, Dm, E, Df] = in.sizes();
    const int tokens = B * N, k = options.top_k, choices = tokens * k, tiles = most_tiles(choices, E);
    const unsigned chunks = blocks_for(choices, chunk);
    const TensorView<std::int32_t, 2> experts(out.experts.data(), {{tokens, k}});

    DeviceTensor<float, 2> scores({tokens, E}, "scores"), weights({tokens, k}, "weights of the chosen");
    multiply({in.hidden.data(), Dm}, {in.router.data(), Dm}, {scores.view().data(), E}, tokens, E, Dm);
    launch(choose_experts, {blocks_for(tokens, warps), block_threads}, scores.view(), options, experts, weights.view());

    DeviceTensor<int, 2> before({static_cast<int>(chunks), E}, "choices in the chunks before");
    DeviceTensor<int, 1> start({{E}}, "start"), place({{choices}}, "place"), token({{choices}}, "token");
    DeviceTensor<TokenTile, 1> token_tiles({{tiles}}, "tiles");
    const Dispatch to{
        {out.experts.data(), {{choices}}}, before.view(), start.view(), token_tiles.view(), place.view(), token.view()};
    launch(count_choices, {chunks, block_threads}, to);
    launch(lay_out, {1, 32}, to);
    launch(place_choices, {chunks, block_threads}, to, k);

    DeviceTensor<float, 2> units({choices, Df}, "hidden units"), results({choices, Dm}, "results of the experts");
    const auto is_aligned = [](const float* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; };
    const bool aligned = Dm % 4 == 0 && Df % 4 == 0 && is_aligned(in.hidden.data()) && is_aligned(in.gate.data()) &&
                         is_aligned(in.up.data()) && is_aligned(in.down.data()) && is_aligned(out.out.data());
    const auto blocks = [&](int columns) { return dim3(static_cast<unsigned>(tiles), blocks_for(columns, tile)); };
    launch(aligned ? make_units<true> : make_units<false>, {blocks(Df), tile_threads}, in, to, units.view());
    launch(aligned ? make_results<true> : make_results<false>, {blocks(Dm), tile_threads}, in, to, units.view(),
           results.view());
    launch(aligned ? gather<true> : gather<false>,
           {blocks_for(std::int64_t{tokens} * ((Dm + 3) / 4), block_threads), block_threads}, to, weights.view(),
           results.view(), TensorView<float, 2>(out.out.data(), {{tokens, Dm}}));
}

}  // namespace ATTN_BUILD
}  // namespace attn::mixture_of_experts

ATTN_CUDA_VERSION("mixture_of_experts", "stage2",
                  "tokens in the order of their experts: an expert's weights are read once for 64 of its tokens",
                  attn::mixture_of_experts::feed_forward, attn::mixture_of_experts::Inputs<float>,
                  attn::mixture_of_experts::Options, attn::mixture_of_experts::Outputs<float>)
