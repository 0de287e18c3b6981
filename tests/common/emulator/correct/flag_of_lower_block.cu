// Each block waits for a flag of the one before it, and continues its sum.
// IN ORDER ONLY
__global__ void kernel(float* data) {
    if (threadIdx.x != 0) return;
    auto* flags = reinterpret_cast<unsigned*>(data + 256);
    if (blockIdx.x > 0)
        while (atomicAdd(&flags[blockIdx.x - 1], 0u) != 1) {
        }
    __threadfence();
    data[1 + blockIdx.x] += blockIdx.x > 0 ? data[blockIdx.x] : 0;
    __threadfence();
    atomicExch(&flags[blockIdx.x], 1u);
}
constexpr Launch launch{4, 32};
