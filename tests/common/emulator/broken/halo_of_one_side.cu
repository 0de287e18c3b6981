// Room for one neighbour on the left, none for that on the right.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    __shared__ float row[65];
    row[threadIdx.x + 1] = data[threadIdx.x + 1];
    if (threadIdx.x == 0) row[0] = data[0];
    if (threadIdx.x == blockDim.x - 1) row[threadIdx.x + 2] = data[65];  // SECOND
    __syncthreads();
    data[128 + threadIdx.x] = row[threadIdx.x] + row[threadIdx.x + 1] + row[threadIdx.x + 2];
}
constexpr Launch launch{1, 64};
