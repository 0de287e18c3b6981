// A ragged row: the tile's tail is filled with zeros.
__global__ void kernel(const float* in, float* out, unsigned count) {
    __shared__ float tile[32];
    const unsigned i = blockIdx.x * 32 + threadIdx.x;
    tile[threadIdx.x] = i < count ? in[i] : 0;
    __syncthreads();
    float sum = 0;
    for (int k = 0; k < 32; ++k) sum += tile[k];
    if (i < count) out[i] = in[i] / sum;
}
int run() {
    float* out = numbers(80);
    return start(kernel, 3, 32, 0, numbers(80), out, 80);
}
