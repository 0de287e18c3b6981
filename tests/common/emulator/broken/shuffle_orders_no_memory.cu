// A shuffle waits for the lanes of its mask, but does not order their accesses to memory.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float row[32];
    row[threadIdx.x] = data[threadIdx.x];  // FIRST
    const float own = __shfl_sync(0xffffffffu, data[32 + threadIdx.x], 0);
    if (threadIdx.x == 5) data[64] = own + row[9];  // SECOND
}
constexpr Launch launch{1, 32};
