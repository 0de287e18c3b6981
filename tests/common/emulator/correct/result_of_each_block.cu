// There is room for one result of each block, and the first thread writes it.
__global__ void kernel(const float* in, float* sums) {
    if (threadIdx.x != 0) return;
    float sum = 0;
    for (unsigned i = 0; i < blockDim.x; ++i) sum += in[blockIdx.x * blockDim.x + i];
    sums[blockIdx.x] = sum;
}
int run() {
    float* in = numbers(128);
    return start(kernel, 4, 32, 0, in, numbers(4));
}
