// The kernel that reads is launched before the one that writes.
// FINDS: never_written
__global__ void fill(float* data) { data[threadIdx.x] = 1; }
__global__ void scale(float* data) {
    data[threadIdx.x] *= 2;  // SECOND
}
int run() {
    float* data = nullptr;
    cudaMalloc(&data, 32 * sizeof(float));
    start(scale, 1, 32, 0, data);
    return start(fill, 1, 32, 0, data);
}
