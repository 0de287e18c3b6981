// The kernel that writes is launched before the one that reads.
__global__ void fill(float* data) { data[threadIdx.x] = 1; }
__global__ void scale(float* data) { data[threadIdx.x] *= 2; }
int run() {
    float* data = nullptr;
    cudaMalloc(&data, 32 * sizeof(float));
    start(fill, 1, 32, 0, data);
    const int error = start(scale, 1, 32, 0, data);
    cudaFree(data);
    return error;
}
