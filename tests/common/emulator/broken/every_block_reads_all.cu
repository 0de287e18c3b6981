// As with the last block done, but each block reads all results, ready or not.
// FINDS: race
__global__ void kernel(float* data) {
    if (threadIdx.x != 0) return;
    data[1 + blockIdx.x] = 1;  // SECOND
    __threadfence();
    atomicAdd(&data[0], 1.0f);
    float sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block) sum += data[1 + block];  // FIRST
    data[64 + blockIdx.x] = sum;
}
constexpr Launch launch{4, 32};
