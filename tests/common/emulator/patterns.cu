// Each kernel is one block. In the comments: what its warps ask for together, counted by hand.
#include "tests/common/emulator/patterns.hpp"

#include "common/cuda/device_buffer.hpp"
#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"

namespace attn::test {

namespace {

constexpr int side = 32;

struct Buffers {
    const float* in;  // 32 × 64 numbers
    float* out;
};

__device__ int lane() { return static_cast<int>(threadIdx.x); }

// ---- global memory: one warp ----------------------------------------------------------------------------------------

// 32 lanes × 4 bytes side by side: 128 bytes, 4 sectors.
__global__ void row(Buffers b) { b.out[lane()] = b.in[lane()]; }
// A row starts every 32 floats: each lane in a sector of its own.
__global__ void column(Buffers b) { b.out[lane()] = b.in[lane() * side]; }
// Every second float: 256 bytes are touched, 8 sectors.
__global__ void every_second(Buffers b) { b.out[lane()] = b.in[2 * lane()]; }
// 128 bytes that begin 4 bytes into a sector: one sector more.
__global__ void off_by_one(Buffers b) { b.out[lane()] = b.in[lane() + 1]; }
__global__ void broadcast(Buffers b) { b.out[lane()] = b.in[5]; }
// In reverse it is the same 128 bytes.
__global__ void reversed(Buffers b) { b.out[31 - lane()] = b.in[31 - lane()]; }
// 16 bytes a lane: one request, 512 bytes.
__global__ void four_each(Buffers b) {
    reinterpret_cast<float4*>(b.out)[lane()] = reinterpret_cast<const float4*>(b.in)[lane()];
}
// The lower and the upper half of the warp in branches of their own: two requests of two sectors each.
__global__ void two_branches(Buffers b) {
    if (lane() < 16)
        b.out[lane()] = b.in[lane()];
    else
        b.out[lane()] = b.in[side + lane()] + 1;
}
// Lane l goes l + 1 times round: 32 requests, the k-th by the lanes from k on. Of row k, columns k … 31.
__global__ void triangle(Buffers b) {
    float sum = 0;
    for (int k = 0; k <= lane(); ++k) sum += b.in[side * k + lane()];
    b.out[lane()] = sum;
}
// A row of 32 and its two neighbours, three loads each: the left and right ones cross into one sector more.
__global__ void halo(Buffers b) {
    const float* middle = b.in + side;
    b.out[lane()] = middle[lane() - 1] + middle[lane()] + middle[lane() + 1];
}
// Columns are stored: 32 sectors.
__global__ void transposed_store(Buffers b) { b.out[lane() * side] = b.in[lane()]; }

// ---- shared memory: one warp; each kernel stores once without a conflict and loads once
// --------------------------------

template <int stride>
__global__ void strided(Buffers b) {
    __shared__ float tile[side * side];
    for (int k = 0; k < stride; ++k) tile[side * k + lane()] = b.in[side * k + lane()];  // `stride` rows
    __syncwarp();
    b.out[lane()] = tile[stride * lane()];  // `stride` lanes want different words of one bank
}

// A tile of 32 × 32, read along a column.
template <int row_length>
__global__ void column_of_tile(Buffers b) {
    __shared__ float tile[side][row_length];
    for (int k = 0; k < side; ++k) tile[k][lane()] = b.in[side * k + lane()];
    __syncwarp();
    b.out[lane()] = tile[lane()][3];
}

__global__ void same_word(Buffers b) {
    __shared__ float tile[side];
    tile[lane()] = b.in[lane()];
    __syncwarp();
    b.out[lane()] = tile[7];
}

// 16 bytes a lane: four quarters of a warp take turns, which is the least.
__global__ void four_each_shared(Buffers b) {
    __shared__ float4 tile[side];
    tile[lane()] = reinterpret_cast<const float4*>(b.in)[lane()];
    __syncwarp();
    reinterpret_cast<float4*>(b.out)[lane()] = tile[lane() ^ 1];
}

// ---- eight warps, a barrier
// -------------------------------------------------------------------------------------------

// The 32 × 32 transposition through a padded tile: each of 8 warps loads and stores four rows.
template <int row_length>
__global__ void transpose(Buffers b) {
    __shared__ float tile[side][row_length];
    for (unsigned y = threadIdx.y; y < side; y += blockDim.y) tile[y][lane()] = b.in[side * y + threadIdx.x];
    __syncthreads();
    for (unsigned y = threadIdx.y; y < side; y += blockDim.y) b.out[side * y + threadIdx.x] = tile[lane()][y];
}

}  // namespace

std::vector<Run> run_patterns() {
    DeviceTensor<float, 1> in(Shape<1>{64 * side}), out(Shape<1>{64 * side});
    cudaMemset(in.view().data(), 0, 64 * side * sizeof(float));
    const Buffers buffers{in.view().data(), out.view().data()};
    std::vector<Run> runs;
    auto run = [&](void (*kernel)(Buffers), dim3 block, const Pattern& expected) {
        emulator::reset();
        emulator::keep_profiles(true);
        launch(kernel, {1, block}, buffers);
        emulator::keep_profiles(false);
        runs.push_back({expected, emulator::profiles().at(0)});
    };
    //                                          loads     stores   wavefronts: loads, stores, conflicts
    run(&row, 32, {"row", 1, 4, 1, 4, 0, 0, 0});
    run(&column, 32, {"column", 1, 32, 1, 4, 0, 0, 0});
    run(&every_second, 32, {"every_second", 1, 8, 1, 4, 0, 0, 0});
    run(&off_by_one, 32, {"off_by_one", 1, 5, 1, 4, 0, 0, 0});
    run(&broadcast, 32, {"broadcast", 1, 1, 1, 4, 0, 0, 0});
    run(&reversed, 32, {"reversed", 1, 4, 1, 4, 0, 0, 0});
    run(&four_each, 32, {"four_each", 1, 16, 1, 16, 0, 0, 0});
    run(&two_branches, 32, {"two_branches", 2, 4, 2, 4, 0, 0, 0});
    // Row k from column k on: 4 sectors for k < 8, then 3, 2, 1.
    run(&triangle, 32, {"triangle", 32, 8 * (4 + 3 + 2 + 1), 1, 4, 0, 0, 0});
    run(&halo, 32, {"halo", 3, 5 + 4 + 5, 1, 4, 0, 0, 0});
    run(&transposed_store, 32, {"transposed_store", 1, 4, 1, 32, 0, 0, 0});
    run(&strided<1>, 32, {"strided<1>", 1, 4, 1, 4, 1, 1, 0});
    run(&strided<2>, 32, {"strided<2>", 2, 8, 1, 4, 2, 2, 1});
    run(&strided<4>, 32, {"strided<4>", 4, 16, 1, 4, 4, 4, 3});
    run(&strided<8>, 32, {"strided<8>", 8, 32, 1, 4, 8, 8, 7});
    run(&column_of_tile<32>, 32, {"column_of_tile<32>", 32, 128, 1, 4, 32, 32, 31});
    run(&column_of_tile<33>, 32, {"column_of_tile<33>", 32, 128, 1, 4, 1, 32, 0});
    run(&same_word, 32, {"same_word", 1, 4, 1, 4, 1, 1, 0});
    run(&four_each_shared, 32, {"four_each_shared", 1, 16, 1, 16, 4, 4, 0});
    run(&transpose<32>, dim3(32, 8), {"transpose<32>", 32, 128, 32, 128, 32 * 32, 32, 32 * 31});
    run(&transpose<33>, dim3(32, 8), {"transpose<33>", 32, 128, 32, 128, 32, 32, 0});
    return runs;
}

}  // namespace attn::test
