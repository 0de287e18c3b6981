// The leader passes on what it got, but calls the shuffle alone; the others are at the next line already.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    float base = 0;
    if (threadIdx.x % 32 == 0) {
        base = atomicAdd(&data[0], 32.0f);
        base = __shfl_sync(0xffffffffu, base, 0);
    }
    __syncwarp();  // SECOND
    data[64 + static_cast<unsigned>(base) + threadIdx.x % 32] = 1;
}
constexpr Launch launch{1, 32};
