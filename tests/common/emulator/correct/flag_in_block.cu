// An atomic flag with a fence hands a value from one warp to another.
__global__ void kernel(float* data) {
    __shared__ float value;
    __shared__ int ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        value = data[0];
        __threadfence_block();
        atomicExch(&ready, 1);
    }
    if (threadIdx.x == 40) {
        while (atomicAdd(&ready, 0) != 1) {
        }
        __threadfence_block();
        data[1] = value;
    }
}
constexpr Launch launch{1, 64};
