// Each element becomes its left neighbour; thread 0 has none, and its unsigned index wraps around.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    data[threadIdx.x] = data[threadIdx.x - 1];  // SECOND
}
constexpr Launch launch{1, 32};
