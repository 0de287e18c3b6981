// The launch asks for 64 bytes of shared memory where it means 64 elements.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    extern __shared__ float reversed[];
    reversed[63 - threadIdx.x] = data[threadIdx.x];  // SECOND
    __syncthreads();
    data[threadIdx.x] = reversed[threadIdx.x];
}
constexpr Launch launch{1, 64, 64};
