// Each thread reads the row below its own: the last has none.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out) {
    __shared__ float tile[16][16];
    const unsigned x = threadIdx.x, y = threadIdx.y;
    tile[y][x] = in[y * 16 + x];
    __syncthreads();
    out[y * 16 + x] = tile[y + 1][x] - tile[y][x];  // SECOND
}
int run() {
    float* out = numbers(256);
    return start(kernel, 1, dim3(16, 16), 0, numbers(256), out);
}
