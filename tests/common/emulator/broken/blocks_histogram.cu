// Counters in global memory that all blocks increase without atomic operations.
// FINDS: race
__global__ void kernel(float* data) {
    if (threadIdx.x < 4) data[threadIdx.x] += 1;  // FIRST  // SECOND
}
constexpr Launch launch{3, 32};
