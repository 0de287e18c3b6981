// One block sets to zero what the others already add to.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) data[0] = 0;               // FIRST
    if (blockIdx.x > 0) atomicAdd(&data[0], 1.0f);  // SECOND
}
constexpr Launch launch{3, 32};
