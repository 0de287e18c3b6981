// Every block writes the same elements.
// FINDS: race
__global__ void kernel(float* data) {
    data[threadIdx.x] = static_cast<float>(blockIdx.x);  // FIRST  // SECOND
}
constexpr Launch launch{4, 32};
