// The guard ends before the barrier.
__global__ void kernel(float* data, unsigned count) {
    __shared__ float row[64];
    row[threadIdx.x] = 0;
    if (threadIdx.x < count) row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < count) data[threadIdx.x] = row[count - 1 - threadIdx.x];
    __syncthreads();
    data[64 + threadIdx.x] = row[threadIdx.x];
}
int run() { return start(kernel, 1, 64, 0, numbers(128), 50); }
