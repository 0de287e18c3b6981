// cudaMemset takes bytes, and was given elements: a quarter is zero, the rest is not.
// FINDS: never_written
__global__ void kernel(const float* in, float* sums) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    sums[i] += in[i];  // SECOND
}
int run() {
    float* sums = nullptr;
    cudaMalloc(&sums, 64 * sizeof(float));
    cudaMemset(sums, 0, 64);
    return start(kernel, 2, 32, 0, numbers(64), sums);
}
