// One thread writes a byte behind the word that the others count on.
__global__ void kernel(float* data) {
    __shared__ unsigned words[2];
    if (threadIdx.x < 2) words[threadIdx.x] = 0;
    __syncthreads();
    if (threadIdx.x < 4)
        atomicAdd(&words[0], 1u << 8 * threadIdx.x);
    else if (threadIdx.x == 4)
        reinterpret_cast<unsigned char*>(words)[4] = 1;
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(words[0] + words[1]);
}
constexpr Launch launch{1, 32};
