// The second warp of a block of 48 threads has 16 lanes.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    float sum = data[threadIdx.x];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);  // SECOND
    data[threadIdx.x] = sum;
}
constexpr Launch launch{1, 48};
