// Lanes of one value add up; half of each group does not take part.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    const unsigned value = static_cast<unsigned>(data[threadIdx.x]);
    const unsigned group = __match_any_sync(0xffffffffu, value % 3);
    unsigned sum = 0;
    if (value % 2 == 0) sum = __reduce_add_sync(group, value);  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(sum);
}
constexpr Launch launch{1, 32};
