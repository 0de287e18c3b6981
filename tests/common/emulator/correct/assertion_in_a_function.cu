// A function that the kernel calls, with what it takes.
__device__ float inverse(float value) {
    assert(value != 0);
    return 1 / value;
}
__global__ void kernel(float* data) { data[threadIdx.x] = inverse(data[threadIdx.x] + 9); }
constexpr Launch launch{1, 32};
