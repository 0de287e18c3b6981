// Each block adds to a total and reads it as if it were complete.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    if (threadIdx.x != 0) return;
    atomicAdd(&data[0], 1.0f);       // SECOND
    data[1 + blockIdx.x] = data[0];  // FIRST
}
constexpr Launch launch{4, 32};
