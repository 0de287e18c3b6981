// Only the thread that wrote the limit looks at it.
__global__ void kernel(float* data, int n) {
    __shared__ int limit;
    if (threadIdx.x == 0) limit = 3;
    int i = 0;
    while (i < n) {
        if (threadIdx.x == 0 && i >= limit) break;
        data[32 * i + threadIdx.x] = 0;
        ++i;
    }
}
int run() { return start(kernel, 1, 32, 0, numbers(1024), 5); }
