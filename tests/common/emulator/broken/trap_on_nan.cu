// A kernel that stops itself where a value is not a number.
// FINDS: assertion
__global__ void kernel(float* data) {
    const float value = sqrtf(data[threadIdx.x] - 3);
    if (!(value >= 0)) __trap();  // SECOND
    data[threadIdx.x] = value;
}
constexpr Launch launch{2, 32};
