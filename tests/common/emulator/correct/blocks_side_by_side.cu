// Each block writes elements of its own, the last ones 16 bytes at a time.
__global__ void kernel(float* data) {
    data[blockIdx.x * 32 + threadIdx.x] = 1;
    if (threadIdx.x < 8) reinterpret_cast<float4*>(data + 128 + 32 * blockIdx.x)[threadIdx.x] = make_float4(0, 1, 2, 3);
}
constexpr Launch launch{4, 32};
