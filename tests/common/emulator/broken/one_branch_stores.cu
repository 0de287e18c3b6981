// Only one of two branches stores.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float kept[64];
    if (data[threadIdx.x] < 40) kept[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[threadIdx.x] = kept[63 - threadIdx.x];  // SECOND
}
constexpr Launch launch{1, 64};
