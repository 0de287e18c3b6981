// Two arrays are carved out of dynamic shared memory; the launch has asked for one.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    extern __shared__ float memory[];
    float *left = memory, *right = memory + blockDim.x;
    left[threadIdx.x] = data[threadIdx.x];
    right[threadIdx.x] = data[64 + threadIdx.x];  // SECOND
    __syncthreads();
    data[threadIdx.x] = left[63 - threadIdx.x] * right[63 - threadIdx.x];
}
constexpr Launch launch{1, 64, 64 * sizeof(float)};
