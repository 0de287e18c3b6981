// The mask names all lanes; half of them do not take this branch.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    if (threadIdx.x % 32 < 16) value += __shfl_down_sync(0xffffffffu, value, 8);  // SECOND
    __syncthreads();
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 64};
