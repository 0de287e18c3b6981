// The guard lets one element too many through.
// FINDS: out_of_bounds
__global__ void kernel(float* data, unsigned count) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= count) data[i] = 1;  // SECOND
}
int run() { return start(kernel, 4, 32, 0, numbers(100), 100); }
