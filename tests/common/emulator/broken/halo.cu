// Each thread smooths its element in place, and reads those of its neighbours.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float row[66];
    row[threadIdx.x + 1] = data[threadIdx.x];
    if (threadIdx.x == 0) row[0] = row[65] = 0;
    __syncthreads();
    const float mean = (row[threadIdx.x] + row[threadIdx.x + 1] + row[threadIdx.x + 2]) / 3;  // SECOND
    row[threadIdx.x + 1] = mean;                                                              // FIRST
    __syncthreads();
    data[threadIdx.x] = row[threadIdx.x + 1];
}
constexpr Launch launch{1, 64};
