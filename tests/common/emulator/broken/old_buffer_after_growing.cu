// A buffer grows: allocate, copy, free. The old pointer is still in use.
// FINDS: use_after_free
__global__ void append(float* data, unsigned count) {
    data[count + threadIdx.x] = 1;  // SECOND
}
int run() {
    float* data = numbers(32);
    float* larger = nullptr;
    cudaMalloc(&larger, 64 * sizeof(float));
    cudaMemcpy(larger, data, 32 * sizeof(float), cudaMemcpyDeviceToDevice);
    cudaFree(data);
    return start(append, 1, 16, 0, data, 8);
}
