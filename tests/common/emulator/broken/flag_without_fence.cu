// An atomic flag says that a value is there, without a fence before it.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float value;
    __shared__ int ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        value = data[0];  // FIRST
        atomicExch(&ready, 1);
    }
    if (threadIdx.x == 40 && atomicAdd(&ready, 0) == 1) data[1] = value;  // SECOND
}
constexpr Launch launch{1, 64};
