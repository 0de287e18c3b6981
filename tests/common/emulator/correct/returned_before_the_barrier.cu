// Threads that have returned are not waited for.
__global__ void kernel(float* data, unsigned count) {
    __shared__ float row[64];
    if (threadIdx.x >= count) return;
    row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[threadIdx.x] = row[count - 1 - threadIdx.x];
}
int run() { return start(kernel, 1, 64, 0, numbers(64), 50); }
