// Each block writes one element too many: the first of the next block.
// FINDS: race
__global__ void kernel(float* data) {
    const unsigned first = blockIdx.x * 32;
    data[first + threadIdx.x] = 1;               // SECOND
    if (threadIdx.x == 0) data[first + 32] = 2;  // FIRST
}
constexpr Launch launch{4, 32};
