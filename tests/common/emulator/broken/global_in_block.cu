// Global memory within a block needs barriers as shared memory does.
// FINDS: race
__global__ void kernel(float* data) {
    data[64 + threadIdx.x] = data[threadIdx.x];                                    // FIRST
    if (threadIdx.x >= 32) data[128 + threadIdx.x] = data[64 + threadIdx.x - 32];  // SECOND
}
constexpr Launch launch{1, 64};
