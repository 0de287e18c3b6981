// A buffer grows: allocate, copy, free, go on with the new one.
__global__ void append(float* data, unsigned count) { data[count + threadIdx.x] = data[threadIdx.x]; }
int run() {
    float *data = nullptr, *larger = nullptr;
    cudaMalloc(&data, 32 * sizeof(float));
    cudaMemset(data, 0, 32 * sizeof(float));
    cudaMalloc(&larger, 64 * sizeof(float));
    cudaMemcpy(larger, data, 32 * sizeof(float), cudaMemcpyDeviceToDevice);
    cudaFree(data);
    data = larger;
    const int error = start(append, 1, 32, 0, data, 32);
    cudaFree(data);
    return error;
}
