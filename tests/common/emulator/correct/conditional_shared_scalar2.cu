// Only the thread that wrote the shared scalar reads it.
__global__ void kernel(float* data, int count) {
    __shared__ float bonus;
    if (threadIdx.x == 0) bonus = 1;
    float sum = 0;
    for (int i = 0; i < count; ++i) {
        const float v = data[64 + i];
        if (threadIdx.x == 0 && v > 70) sum += bonus * v;
    }
    data[threadIdx.x] = sum;
}
int run() { return start(kernel, 1, 32, 0, numbers(256), 20); }
