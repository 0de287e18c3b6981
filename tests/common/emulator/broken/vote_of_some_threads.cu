// Only threads with a large value ask whether there is a larger one.
// FINDS: barrier
__global__ void kernel(float* data) {
    const bool large = data[threadIdx.x] > 20;
    const int larger = large && __syncthreads_or(data[threadIdx.x] > 60);  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(larger);
}
constexpr Launch launch{1, 64};
