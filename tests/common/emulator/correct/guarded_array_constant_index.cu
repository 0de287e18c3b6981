// Only the thread that wrote the element reads it.
__global__ void kernel(float* data, int n) {
    __shared__ float row[4];
    if (threadIdx.x == 0) row[2] = 3;
    float x = 0;
    for (int i = 0; i < n; ++i) {
        x += data[32 * i + threadIdx.x];
        if (threadIdx.x == 0) x *= row[2];
    }
    data[threadIdx.x] = x;
}
int run() { return start(kernel, 1, 32, 0, numbers(1024), 5); }
