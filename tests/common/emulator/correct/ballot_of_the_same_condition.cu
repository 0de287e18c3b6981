// The ballot and the branch ask the same.
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    const unsigned mask = __ballot_sync(0xffffffffu, value <= 24);
    if (value <= 24) value = static_cast<float>(__popc(__ballot_sync(mask, value > 7)));
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 32};
