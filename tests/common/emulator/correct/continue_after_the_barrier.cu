// A thread with nothing to do goes on to the next round after the barrier.
__global__ void kernel(float* data, int count) {
    __shared__ float tile[2][32];
    float sum = 0;
    for (int first = 0; first < count; first += 32) {
        const int i = first + static_cast<int>(threadIdx.x), side = first / 32 % 2;
        if (i < count) tile[side][threadIdx.x] = data[i];
        __syncthreads();
        if (i >= count) continue;
        sum += tile[side][0];
    }
    __syncthreads();
    data[threadIdx.x] = sum;
}
int run() { return start(kernel, 1, 32, 0, numbers(80), 80); }
