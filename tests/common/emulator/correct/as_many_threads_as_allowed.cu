// A thread for each of 1024 elements, in one block.
__global__ void kernel(float* data) { data[threadIdx.x] = 1; }
constexpr Launch launch{1, 1024};
