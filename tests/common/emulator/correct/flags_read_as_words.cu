// 30 flags of one byte, read four at a time; the last two bytes are zero.
__global__ void kernel(float* data) {
    __shared__ __align__(4) unsigned char flags[32];
    flags[threadIdx.x] = threadIdx.x < 30 && data[threadIdx.x] > 7;
    __syncthreads();
    if (threadIdx.x < 8) data[threadIdx.x] = reinterpret_cast<unsigned*>(flags)[threadIdx.x] != 0;
}
constexpr Launch launch{1, 32};
