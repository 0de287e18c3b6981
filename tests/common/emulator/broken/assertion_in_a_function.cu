// A function that the kernel calls does not take what it is given.
// FINDS: assertion
__device__ float inverse(float value) {
    assert(value != 0);  // SECOND
    return 1 / value;
}
__global__ void kernel(float* data) { data[threadIdx.x] = inverse(data[threadIdx.x] - 9); }
constexpr Launch launch{1, 32};
