// Lanes of one value add up, each group with the mask of its own; then all meet.
__global__ void kernel(float* data) {
    const unsigned value = static_cast<unsigned>(data[threadIdx.x]);
    const unsigned group = __match_any_sync(0xffffffffu, value % 3);
    data[threadIdx.x] = static_cast<float>(__reduce_add_sync(group, value));
    __syncwarp();
}
constexpr Launch launch{1, 32};
