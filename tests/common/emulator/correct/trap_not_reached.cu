// A kernel that would stop itself where a value is not a number.
__global__ void kernel(float* data) {
    const float value = sqrtf(data[threadIdx.x] + 3);
    if (!(value >= 0)) __trap();
    data[512 + 32 * blockIdx.x + threadIdx.x] = value;
}
constexpr Launch launch{2, 32};
