// The launch asks for 64 bytes of shared memory, and they are bytes.
__global__ void kernel(float* data) {
    extern __shared__ unsigned char flags[];
    flags[63 - threadIdx.x] = data[threadIdx.x] > 7;
    __syncthreads();
    data[threadIdx.x] = flags[threadIdx.x];
}
constexpr Launch launch{1, 64, 64};
