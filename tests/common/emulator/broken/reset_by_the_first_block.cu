// The first block sets back a counter that the others may still be adding to.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    atomicAdd(&data[threadIdx.x / 16], 1.0f);                                  // SECOND
    if (blockIdx.x == 0 && threadIdx.x % 16 == 0) data[threadIdx.x / 16] = 0;  // FIRST
}
constexpr Launch launch{3, 32};
