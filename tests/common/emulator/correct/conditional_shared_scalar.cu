// A shared scalar is written, and read, under the same condition.
__global__ void kernel(float* data, int count) {
    __shared__ float bonus;
    if (threadIdx.x == 0 && count > 100) bonus = 1;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < count; ++i) {
        sum += data[64 + i];
        if (count > 100) sum += bonus;
    }
    data[threadIdx.x] = sum;
}
int run() { return start(kernel, 1, 32, 0, numbers(256), 20); }
