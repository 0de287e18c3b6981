// The ballot asks for less than 24, the branch lets 24 through, too.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    const unsigned mask = __ballot_sync(0xffffffffu, value < 24);
    if (value <= 24) value = static_cast<float>(__popc(__ballot_sync(mask, value > 7)));  // SECOND
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 32};
