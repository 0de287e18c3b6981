// Two arrays carved out of dynamic shared memory, and the launch asks for both.
__global__ void kernel(float* data) {
    extern __shared__ float memory[];
    float *left = memory, *right = memory + blockDim.x;
    left[threadIdx.x] = data[threadIdx.x];
    right[threadIdx.x] = data[64 + threadIdx.x];
    __syncthreads();
    data[threadIdx.x] = left[63 - threadIdx.x] * right[63 - threadIdx.x];
}
constexpr Launch launch{1, 64, 2 * 64 * sizeof(float)};
