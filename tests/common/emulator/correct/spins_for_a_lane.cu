// Thread 0 waits for what thread 1 adds: lanes run independently since Volta.
__global__ void kernel(float* data) {
    __shared__ int flag;
    if (threadIdx.x == 0) flag = 0;
    __syncthreads();
    if (threadIdx.x == 0)
        while (atomicAdd(&flag, 0) == 0) {
        }
    else
        atomicAdd(&flag, 1);
    data[threadIdx.x] = 1;
}
constexpr Launch launch{1, 2};
