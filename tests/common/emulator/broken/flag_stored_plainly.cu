// The flag is asked by an atomic operation, but set by a plain store.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    __shared__ float value;
    __shared__ int ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        value = data[0];
        __threadfence_block();
        ready = 1;  // FIRST
    }
    if (threadIdx.x == 40 && atomicAdd(&ready, 0) == 1) data[1] = value;  // SECOND
}
constexpr Launch launch{1, 64};
