// 1000 elements in blocks of 256: the last block goes past the end.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    data[i] = 2 * data[i];  // SECOND
}
int run() { return start(kernel, (1000 + 255) / 256, 256, 0, numbers(1000)); }
