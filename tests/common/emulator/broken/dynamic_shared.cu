// The same in dynamic shared memory: each thread reads what the other half writes.
// FINDS: race
__global__ void kernel(float* data) {
    extern __shared__ float row[];
    row[threadIdx.x] = data[threadIdx.x];                              // FIRST
    if (threadIdx.x >= 32) data[threadIdx.x] = row[63 - threadIdx.x];  // SECOND
}
constexpr Launch launch{1, 64, 64 * sizeof(float)};
