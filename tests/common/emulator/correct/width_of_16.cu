// Sums of half warps, with the mask of all lanes: the width keeps them apart.
__global__ void kernel(float* data) {
    float sum = data[threadIdx.x];
    for (int step = 8; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step, 16);
    data[threadIdx.x] = __shfl_sync(0xffffffffu, sum, 0, 16);
}
constexpr Launch launch{1, 64};
