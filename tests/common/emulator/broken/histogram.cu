// Counters that several threads increase without atomic operations.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ int counters[4];
    if (threadIdx.x < 4) counters[threadIdx.x] = 0;
    __syncthreads();
    const int bin = static_cast<int>(threadIdx.x % 4);
    counters[bin] += 1;  // FIRST  // SECOND
    __syncthreads();
    if (threadIdx.x < 4) data[threadIdx.x] = static_cast<float>(counters[threadIdx.x]);
}
constexpr Launch launch{1, 64};
