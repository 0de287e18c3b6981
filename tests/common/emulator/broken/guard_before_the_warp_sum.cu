// The threads past the end have returned; the sum of the last warp reads them.
// FINDS: warp_collective
__global__ void kernel(const float* in, float* sums, unsigned count) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float sum = in[i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);  // SECOND
    if (threadIdx.x % 32 == 0) sums[i / 32] = sum;
}
int run() {
    float* sums = numbers(4);
    return start(kernel, 2, 64, 0, numbers(100), sums, 100);
}
