// Each half of the warp uses the mask of its own.
__global__ void kernel(float* data) {
    const unsigned mask = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
    float sum = data[threadIdx.x];
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(mask, sum, step, 16);
    data[threadIdx.x] = sum;
}
constexpr Launch launch{1, 32};
