// Two buffers in turn: the one is filled before the first round, the other while the first is read.
__global__ void kernel(float* data) {
    __shared__ float buffer[2][32];
    float sum = 0;
    buffer[0][threadIdx.x] = data[threadIdx.x];
    for (int round = 0; round < 4; ++round) {
        __syncthreads();
        if (round < 3) buffer[(round + 1) % 2][threadIdx.x] = data[32 * (round + 1) + threadIdx.x];
        sum += buffer[round % 2][31 - threadIdx.x];
    }
    data[256 + threadIdx.x] = sum;
}
constexpr Launch launch{1, 32};
