// The lanes of a warp run independently since Volta.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float row[32];
    row[threadIdx.x] = data[threadIdx.x];      // FIRST
    if (threadIdx.x == 31) data[31] = row[4];  // SECOND
}
constexpr Launch launch{1, 32};
