// The largest value falls into a bin that does not exist.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, unsigned* bins, unsigned count) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned bin = static_cast<unsigned>(in[i] * static_cast<float>(count) / 127);
    atomicAdd(&bins[bin], 1u);  // SECOND
}
int run() {
    unsigned* bins = nullptr;
    cudaMalloc(&bins, 16 * sizeof(unsigned));
    cudaMemset(bins, 0, 16 * sizeof(unsigned));
    return start(kernel, 2, 64, 0, numbers(128), bins, 16);
}
