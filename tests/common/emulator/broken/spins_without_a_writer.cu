// Waits for a volatile flag that nobody sets.
// FINDS: endless_loop
__global__ void kernel(float* data) {
    __shared__ volatile float flag;
    if (threadIdx.x == 0) flag = data[0];
    __syncthreads();
    while (flag == 0) {  // SECOND
    }
}
constexpr Launch launch{1, 2};
