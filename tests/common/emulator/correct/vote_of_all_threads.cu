// All threads ask, whatever their value.
__global__ void kernel(float* data) {
    const bool large = data[threadIdx.x] > 20;
    const int larger = __syncthreads_or(data[threadIdx.x] > 60) && large;
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(larger);
}
constexpr Launch launch{1, 64};
