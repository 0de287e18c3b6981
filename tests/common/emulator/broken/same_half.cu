// Two threads write one half of a word; the halves beside it are fine.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ unsigned short row[65];
    if (threadIdx.x < 32) row[threadIdx.x + 1] = 1;  // FIRST
    if (threadIdx.x == 40) row[7] = 2;               // SECOND
    __syncthreads();
    if (threadIdx.x < 32) data[threadIdx.x] = row[threadIdx.x + 1];
}
constexpr Launch launch{1, 64};
