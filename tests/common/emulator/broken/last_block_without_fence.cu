// The last block sums up what the others wrote, but nobody made a fence.
// FINDS: race
__global__ void kernel(float* data) {
    if (threadIdx.x != 0) return;
    data[1 + blockIdx.x] = 1;  // FIRST
    if (atomicAdd(&data[0], 1.0f) != 3.0f) return;
    float sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block) sum += data[1 + block];  // SECOND
    data[64] = sum;
}
constexpr Launch launch{4, 32};
