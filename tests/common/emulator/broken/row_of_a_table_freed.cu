// A table of rows, one of which is freed.
// FINDS: use_after_free
__global__ void kernel(float* const* rows, float* out) {
    out[blockIdx.x * 8 + threadIdx.x] = rows[blockIdx.x][threadIdx.x];  // SECOND
}
int run() {
    float* out = numbers(32);
    float* rows[4];
    for (float*& row : rows) row = numbers(8);
    float** table = nullptr;
    cudaMalloc(&table, sizeof rows);
    cudaMemcpy(table, rows, sizeof rows, cudaMemcpyHostToDevice);
    cudaFree(rows[2]);
    return start(kernel, 4, 8, 0, table, out);
}
