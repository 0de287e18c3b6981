// The halo's sides are filled, its corners are not.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float tile[10][10];
    const unsigned x = threadIdx.x + 1, y = threadIdx.y + 1;
    tile[y][x] = data[8 * threadIdx.y + threadIdx.x];
    if (threadIdx.x == 0) tile[y][0] = tile[y][9] = 0;
    if (threadIdx.y == 0) tile[0][x] = tile[9][x] = 0;
    __syncthreads();
    float sum = 0;
    for (unsigned row = y - 1; row <= y + 1; ++row)
        for (unsigned column = x - 1; column <= x + 1; ++column) sum += tile[row][column];  // SECOND
    data[8 * threadIdx.y + threadIdx.x] = sum / 9;
}
int run() { return start(kernel, 1, dim3(8, 8), 0, numbers(64)); }
