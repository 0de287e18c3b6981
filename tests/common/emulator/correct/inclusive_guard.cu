// The guard is inclusive, and so is what it is given.
__global__ void kernel(float* data, unsigned last) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= last) data[i] = 1;
}
int run() { return start(kernel, 4, 32, 0, numbers(100), 99); }
