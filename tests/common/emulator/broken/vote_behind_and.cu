// && calls the vote in those lanes only whose left side is true.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    const float value = data[threadIdx.x];
    const bool done = value > 3 && __all_sync(0xffffffffu, value > 2);  // SECOND
    __syncwarp();
    data[threadIdx.x] = done;
}
constexpr Launch launch{1, 32};
