// A table of 9 coefficients, and 9 threads that set one each.
__device__ float nine_coefficients[9];
__global__ void kernel(float* data) {
    nine_coefficients[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[threadIdx.x] = nine_coefficients[8 - threadIdx.x];
}
constexpr Launch launch{1, 9};
