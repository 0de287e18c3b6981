// A loop from the thread's index on: the last threads have a round less.
// FINDS: barrier
__global__ void kernel(float* data, unsigned count) {
    __shared__ float row[32];
    float sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        row[threadIdx.x] = data[i];
        __syncthreads();
        sum += row[threadIdx.x];
    }
    __syncthreads();  // SECOND
    data[threadIdx.x] = sum + row[0];
}
int run() { return start(kernel, 1, 32, 0, numbers(100), 100); }
