// A counter is set to zero, and counts at once.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    __shared__ int count;
    if (threadIdx.x == 0) count = 0;                   // FIRST
    if (data[threadIdx.x] > 10) atomicAdd(&count, 1);  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(count);
}
constexpr Launch launch{1, 64};
