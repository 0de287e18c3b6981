// Blocks add to a sum that nobody has set to zero.
// FINDS: never_written
__global__ void kernel(const float* in, float* sum) {
    atomicAdd(sum, in[blockIdx.x * blockDim.x + threadIdx.x]);  // SECOND
}
int run() {
    float* sum = nullptr;
    cudaMalloc(&sum, sizeof *sum);
    return start(kernel, 4, 32, 0, numbers(128), sum);
}
