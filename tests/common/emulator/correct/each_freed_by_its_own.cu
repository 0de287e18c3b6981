// Pinned memory, device memory and memory of the host, each freed as it was allocated.
int run() {
    float *pinned, *data;
    auto* values = new float[64]();
    cudaMallocHost(reinterpret_cast<void**>(&pinned), 256);
    cudaMalloc(&data, 256);
    const int error = cudaMemcpy(data, values, 256, cudaMemcpyHostToDevice);
    cudaFreeHost(pinned);
    cudaFree(data);
    delete[] values;
    return error;
}
