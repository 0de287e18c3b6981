// A table of 8 coefficients, and 9 threads that set one each.
// FINDS: out_of_bounds
__device__ float coefficients[8];
__global__ void kernel(float* data) {
    coefficients[threadIdx.x] = data[threadIdx.x];  // SECOND
}
constexpr Launch launch{1, 9};
