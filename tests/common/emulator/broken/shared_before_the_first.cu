// The first element of a row in shared memory has no left neighbour.
// FINDS: out_of_bounds
__global__ void kernel(float* data) {
    __shared__ float row[32];
    row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[threadIdx.x] -= row[static_cast<int>(threadIdx.x) - 1];  // SECOND
}
constexpr Launch launch{1, 32};
