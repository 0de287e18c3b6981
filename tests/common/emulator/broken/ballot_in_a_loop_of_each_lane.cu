// Lanes have different numbers of rounds, and vote in each.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    int votes = 0;
    for (unsigned i = 0; i <= threadIdx.x % 4; ++i)
        votes += __popc(__ballot_sync(0xffffffffu, data[32 * i + threadIdx.x] > 40));  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(votes);
}
constexpr Launch launch{1, 32};
