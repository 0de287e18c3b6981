// Sums in double stand before an odd number of floats.
__global__ void kernel(float* data, unsigned count) {
    extern __shared__ double sums[];
    auto* values = reinterpret_cast<float*>(sums + 2);
    if (threadIdx.x < count) values[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 2) {
        sums[threadIdx.x] = 0;
        for (unsigned i = threadIdx.x; i < count; i += 2) sums[threadIdx.x] += values[i];
        data[threadIdx.x] = static_cast<float>(sums[threadIdx.x]);
    }
}
int run() { return start(kernel, 1, 32, 31 * sizeof(float) + 2 * sizeof(double), numbers(32), 31); }
