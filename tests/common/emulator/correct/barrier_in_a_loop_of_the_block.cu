// A loop with as many rounds for each thread; the guard is inside.
__global__ void kernel(float* data, unsigned count) {
    __shared__ float row[32];
    float sum = 0;
    for (unsigned first = 0; first < count; first += blockDim.x) {
        const unsigned i = first + threadIdx.x;
        if (i < count) row[threadIdx.x] = data[i];
        __syncthreads();
        sum += row[0];
        __syncthreads();
    }
    data[threadIdx.x] = sum;
}
int run() { return start(kernel, 1, 32, 0, numbers(100), 100); }
