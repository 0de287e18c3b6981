// The same with a volatile flag.
__global__ void kernel(float* data) {
    __shared__ float value;
    __shared__ volatile int ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 40) {
        value = data[0];
        __threadfence_block();
        ready = 1;
    }
    if (threadIdx.x == 0) {
        while (ready != 1) {
        }
        __threadfence_block();
        data[1] = value;
    }
}
constexpr Launch launch{1, 64};
