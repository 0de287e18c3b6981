// Block 0 waits for a flag that block 1 sets; a GPU may start block 1 when block 0 has ended.
// FINDS: endless_loop
__global__ void kernel(float* data) {
    if (blockIdx.x == 0) {
        while (atomicAdd(data, 0.0f) == 0) {  // SECOND
        }
    } else {
        atomicAdd(data, 1.0f);
    }
}
constexpr Launch launch{2, 1};
