// A barrier in each branch.
// FINDS: barrier
__global__ void kernel(float* data) {
    __shared__ float row[32];
    float v = data[threadIdx.x];
    if (threadIdx.x < 16) {
        row[threadIdx.x] = v;
        __syncthreads();
    } else {
        row[threadIdx.x] = v;
        __syncthreads();  // SECOND
    }
    data[threadIdx.x] = row[31 - threadIdx.x];
}
constexpr Launch launch{1, 32};
