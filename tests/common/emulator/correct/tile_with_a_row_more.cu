// A tile with a row more than there are threads, for the row below the last.
__global__ void kernel(const float* in, float* out) {
    __shared__ float tile[17][16];
    const unsigned x = threadIdx.x, y = threadIdx.y;
    tile[y][x] = in[y * 16 + x];
    if (y == 15) tile[y + 1][x] = in[(y + 1) * 16 + x];
    __syncthreads();
    out[y * 16 + x] = tile[y + 1][x] - tile[y][x];
}
int run() {
    float* out = numbers(256);
    return start(kernel, 1, dim3(16, 16), 0, numbers(17 * 16), out);
}
