// The mask names all lanes; those that have returned are not waited for, and not read from.
__global__ void kernel(float* data) {
    if (threadIdx.x % 32 >= 16) return;
    float sum = data[threadIdx.x];
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    data[threadIdx.x] = sum;
}
constexpr Launch launch{1, 64};
