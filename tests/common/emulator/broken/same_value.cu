// All threads write the same value: still a race, as nothing says that the writes do not tear or mix with later ones.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ int found;
    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    if (data[threadIdx.x] > 7) found = 1;  // FIRST  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(found);
}
constexpr Launch launch{1, 64};
