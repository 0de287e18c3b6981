// The vote stands left of &&: all lanes call it.
__global__ void kernel(float* data) {
    const float value = data[threadIdx.x];
    const bool done = __all_sync(0xffffffffu, value >= 0) && value > 3;
    __syncwarp();
    data[threadIdx.x] = done;
}
constexpr Launch launch{1, 32};
