// Two buffers in turn need only one barrier a round.
__global__ void kernel(float* data) {
    __shared__ float buffer[2][64];
    float sum = 0;
    for (int round = 0; round < 4; ++round) {
        buffer[round % 2][threadIdx.x] = data[64 * round + threadIdx.x];
        __syncthreads();
        sum += buffer[round % 2][63 - threadIdx.x];
    }
    data[256 + threadIdx.x] = sum;
}
constexpr Launch launch{1, 64};
