// The second warp of a block of 48 threads has 16 lanes, and a mask and a width for them.
__global__ void kernel(float* data) {
    const bool whole = threadIdx.x < 32;
    const unsigned mask = whole ? 0xffffffffu : 0x0000ffffu;
    float sum = data[threadIdx.x];
    for (int step = whole ? 16 : 8; step > 0; step /= 2) sum += __shfl_xor_sync(mask, sum, step);
    data[threadIdx.x] = sum;
}
constexpr Launch launch{1, 48};
