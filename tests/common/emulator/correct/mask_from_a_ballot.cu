// A ballot before the branch says who will call the shuffle.
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    const unsigned mask = __ballot_sync(0xffffffffu, value < 24);
    if (value < 24) value += __shfl_xor_sync(mask, value, 1);
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 32};
