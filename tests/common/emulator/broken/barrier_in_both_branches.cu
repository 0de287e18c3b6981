// Producers and consumers, each half with a barrier of its own.
// FINDS: barrier
__global__ void kernel(float* data) {
    __shared__ float row[32];
    if (threadIdx.x < 32) {
        row[threadIdx.x] = data[threadIdx.x];
        __syncthreads();
    } else {
        __syncthreads();  // SECOND
        data[threadIdx.x] = row[63 - threadIdx.x];
    }
}
constexpr Launch launch{1, 64};
