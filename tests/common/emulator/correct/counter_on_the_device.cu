// All blocks count in a variable of the device.
__global__ void kernel(const float* in, unsigned* counter) {
    if (in[blockIdx.x * blockDim.x + threadIdx.x] > 50) atomicAdd(counter, 1u);
}
int run() {
    unsigned* counter = nullptr;
    cudaMalloc(&counter, sizeof *counter);
    cudaMemset(counter, 0, sizeof *counter);
    const int error = start(kernel, 4, 32, 0, numbers(128), counter);
    cudaFree(counter);
    return error;
}
