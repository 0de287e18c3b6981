// The pointer is set to null when its buffer is freed: to free null is allowed.
int run() {
    float* data;
    cudaMalloc(&data, 256);
    cudaFree(data);
    data = nullptr;
    return cudaFree(data);
}
