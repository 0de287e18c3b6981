// The loop goes on while any lane has something to do; lanes without vote no.
__global__ void kernel(float* data) {
    int votes = 0;
    for (unsigned i = 0; __any_sync(0xffffffffu, i <= threadIdx.x % 4); ++i)
        votes += __popc(__ballot_sync(0xffffffffu, i <= threadIdx.x % 4 && data[32 * i + threadIdx.x] > 40));
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(votes);
}
constexpr Launch launch{1, 32};
