// 30 flags of one byte, read four at a time: the last word has only two.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ __align__(4) unsigned char flags[32];
    if (threadIdx.x < 30) flags[threadIdx.x] = data[threadIdx.x] > 7;
    __syncthreads();
    if (threadIdx.x < 8) data[threadIdx.x] = reinterpret_cast<unsigned*>(flags)[threadIdx.x] != 0;  // SECOND
}
constexpr Launch launch{1, 32};
