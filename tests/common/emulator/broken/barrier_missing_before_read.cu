// A neighbour's element is read before it is certain to be there.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float row[64];
    row[threadIdx.x] = data[threadIdx.x];                           // FIRST
    if (threadIdx.x > 0) data[threadIdx.x] = row[threadIdx.x - 1];  // SECOND
}
constexpr Launch launch{1, 64};
