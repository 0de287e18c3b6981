// A floating-point quotient is infinite, and no error.
__global__ void kernel(float* data) { data[threadIdx.x] = 100 / data[threadIdx.x]; }
constexpr Launch launch{1, 32};
