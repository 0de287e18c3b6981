// Both branches store.
__global__ void kernel(float* data) {
    __shared__ float kept[64];
    if (data[threadIdx.x] < 40)
        kept[threadIdx.x] = data[threadIdx.x];
    else
        kept[threadIdx.x] = 40;
    __syncthreads();
    data[threadIdx.x] = kept[63 - threadIdx.x];
}
constexpr Launch launch{1, 64};
