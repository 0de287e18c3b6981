// A ragged row of halves, added up to the end of the tile.
// FINDS: never_written
__global__ void kernel(float* data, unsigned count) {
    __shared__ __half row[32];
    if (threadIdx.x < count) row[threadIdx.x] = __float2half(data[threadIdx.x]);
    __syncthreads();
    __half sum = __float2half(0);
    for (const __half& value : row) sum += value;  // SECOND
    data[threadIdx.x] = __half2float(sum);
}
int run() { return start(kernel, 1, 32, 0, numbers(32), 30); }
