// 1000 elements in blocks of 256, with the guard.
__global__ void kernel(float* data, unsigned count) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) data[i] = 2 * data[i];
}
int run() { return start(kernel, (1000 + 255) / 256, 256, 0, numbers(1000), 1000); }
