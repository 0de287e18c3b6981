// The tile's column of padding holds nothing, and the sum of a row takes it along.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float tile[8][9];
    tile[threadIdx.y][threadIdx.x] = data[8 * threadIdx.y + threadIdx.x];
    __syncthreads();
    if (threadIdx.y > 0) return;
    float sum = 0;
    for (unsigned column = 0; column < sizeof tile[0] / sizeof(float); ++column)
        sum += tile[threadIdx.x][column];  // SECOND
    data[threadIdx.x] = sum;
}
int run() { return start(kernel, 1, dim3(8, 8), 0, numbers(64)); }
