// Both halves of the warp use the mask of the first.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    float sum = data[threadIdx.x];
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0x0000ffffu, sum, step, 16);  // SECOND
    data[threadIdx.x] = sum;
}
constexpr Launch launch{1, 32};
