// The leader passes on what it got; all lanes call the shuffle.
__global__ void kernel(float* data) {
    float base = 0;
    if (threadIdx.x % 32 == 0) base = atomicAdd(&data[0], 32.0f);
    base = __shfl_sync(0xffffffffu, base, 0);
    data[64 + static_cast<unsigned>(base) + threadIdx.x % 32] = 1;
}
constexpr Launch launch{4, 64};
