// Sums in double stand behind an odd number of floats.
// FINDS: misaligned
__global__ void kernel(float* data, unsigned count) {
    extern __shared__ float values[];
    auto* sums = reinterpret_cast<double*>(values + count);
    if (threadIdx.x < count) values[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 2) {
        sums[threadIdx.x] = 0;  // SECOND
        for (unsigned i = threadIdx.x; i < count; i += 2) sums[threadIdx.x] += values[i];
        data[threadIdx.x] = static_cast<float>(sums[threadIdx.x]);
    }
}
int run() { return start(kernel, 1, 32, 31 * sizeof(float) + 2 * sizeof(double), numbers(32), 31); }
