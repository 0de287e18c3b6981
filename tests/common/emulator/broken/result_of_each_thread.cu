// There is room for one result of each block, and each thread writes one.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* sums) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    sums[i] = in[i];  // SECOND
}
int run() {
    float* in = numbers(128);
    return start(kernel, 4, 32, 0, in, numbers(4));
}
