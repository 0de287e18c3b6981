// Two buffers in turn need one barrier a round; here every second one is left out.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float buffer[2][64];
    float sum = 0;
    for (int round = 0; round < 4; ++round) {
        buffer[round % 2][threadIdx.x] = data[64 * round + threadIdx.x];  // FIRST
        if (round % 2 == 0) __syncthreads();
        sum += buffer[0][63 - threadIdx.x];  // SECOND
    }
    data[256 + threadIdx.x] = sum;
}
constexpr Launch launch{1, 64};
