// The rows are device memory, the table of their addresses is not.
// FINDS: host_memory
__global__ void kernel(float** rows) {
    rows[blockIdx.x][threadIdx.x] = 0;  // SECOND
}
int run() {
    float* rows[4];
    for (float*& row : rows) row = numbers(8);
    return start(kernel, 4, 8, 0, rows);
}
