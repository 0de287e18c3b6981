// Four counters of one byte: one thread counts on its byte, the others on the word.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    __shared__ unsigned word;
    if (threadIdx.x == 0) word = 0;
    __syncthreads();
    if (threadIdx.x < 4)
        atomicAdd(&word, 1u << 8 * threadIdx.x);  // FIRST
    else if (threadIdx.x == 40)
        reinterpret_cast<unsigned char*>(&word)[2] = 1;  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(word);
}
constexpr Launch launch{1, 64};
