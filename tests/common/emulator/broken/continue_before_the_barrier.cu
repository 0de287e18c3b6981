// A thread with nothing to load goes on to the next round, past the barrier.
// FINDS: barrier
__global__ void kernel(float* data, int count) {
    __shared__ float tile[32];
    float sum = 0;
    for (int first = 0; first < count; first += 32) {
        const int i = first + static_cast<int>(threadIdx.x);
        if (i >= count) continue;
        tile[threadIdx.x] = data[i];
        __syncthreads();
        sum += tile[threadIdx.x];
    }
    __syncthreads();  // SECOND
    data[threadIdx.x] = sum + tile[0];
}
int run() { return start(kernel, 1, 32, 0, numbers(80), 80); }
