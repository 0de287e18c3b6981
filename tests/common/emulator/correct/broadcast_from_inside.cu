// Lane 0 is not in the mask, and is not read from.
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    if (threadIdx.x % 32 > 0) value -= __shfl_sync(0xfffffffeu, value, 1);
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 32};
