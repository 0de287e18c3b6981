// Values 0 … 4 make five bins, not four.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    __shared__ int bins[4];
    if (threadIdx.x < 4) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[static_cast<int>(data[threadIdx.x]) % 5], 1);  // SECOND
    __syncthreads();
    if (threadIdx.x < 4) data[threadIdx.x] = static_cast<float>(bins[threadIdx.x]);
}
constexpr Launch launch{1, 64};
