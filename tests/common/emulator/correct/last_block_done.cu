// Partial sums; the block that comes last to the counter adds them up.
__global__ void kernel(float* data) {
    __shared__ bool is_last;
    data[1 + blockIdx.x * 32 + threadIdx.x] = 1;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicAdd(&data[0], 1.0f) == static_cast<float>(gridDim.x - 1);
    __syncthreads();
    if (!is_last) return;
    float sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block) sum += data[1 + block * 32 + threadIdx.x];
    data[256 + threadIdx.x] = sum;
}
constexpr Launch launch{4, 32};
