// One thread writes and reads as it likes; the others wait for it.
__global__ void kernel(float* data) {
    __shared__ float row[32];
    if (threadIdx.x == 7)
        for (int round = 0; round < 3; ++round)
            for (int i = 1; i < 32; ++i) row[i] = row[i - 1] = static_cast<float>(round);
    __syncthreads();
    data[threadIdx.x] = row[threadIdx.x % 32];
}
constexpr Launch launch{1, 64};
