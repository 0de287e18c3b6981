// The mask names the lanes that take this branch.
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    if (threadIdx.x % 32 < 16) value += __shfl_down_sync(0x0000ffffu, value, 8, 16);
    __syncthreads();
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 64};
