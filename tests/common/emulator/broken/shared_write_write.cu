// All threads write one element of shared memory.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float last;
    last = data[threadIdx.x];  // FIRST  // SECOND
    __syncthreads();
    data[threadIdx.x] = last;
}
constexpr Launch launch{1, 64};
