// Two buffers in turn: the first round reads the one that the last round would fill.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float buffer[2][32];
    float sum = 0;
    for (int round = 0; round < 4; ++round) {
        buffer[round % 2][threadIdx.x] = data[32 * round + threadIdx.x];
        __syncthreads();
        sum += buffer[(round + 1) % 2][31 - threadIdx.x];  // SECOND
        __syncthreads();
    }
    data[256 + threadIdx.x] = sum;
}
constexpr Launch launch{1, 32};
