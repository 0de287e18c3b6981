// A ragged row: the tile's tail is neither filled nor read.
__global__ void kernel(const float* in, float* out, unsigned count) {
    __shared__ float tile[32];
    const unsigned first = blockIdx.x * 32, i = first + threadIdx.x;
    if (i < count) tile[threadIdx.x] = in[i];
    __syncthreads();
    float sum = 0;
    for (unsigned k = 0; k < min(32u, count - first); ++k) sum += tile[k];
    if (i < count) out[i] = in[i] / sum;
}
int run() {
    float* out = numbers(80);
    return start(kernel, 3, 32, 0, numbers(80), out, 80);
}
