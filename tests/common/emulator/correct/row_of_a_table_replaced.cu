// A table of rows, one of which is freed and replaced.
__global__ void kernel(float* const* rows, float* out) {
    out[blockIdx.x * 8 + threadIdx.x] = rows[blockIdx.x][threadIdx.x];
}
int run() {
    float* out = numbers(32);
    float* rows[4];
    for (float*& row : rows) row = numbers(8);
    float* old = nullptr;
    cudaMalloc(&old, 8 * sizeof(float));
    rows[2] = old;
    cudaFree(old);
    rows[2] = numbers(8);
    float** table = nullptr;
    cudaMalloc(&table, sizeof rows);
    cudaMemcpy(table, rows, sizeof rows, cudaMemcpyHostToDevice);
    const int error = start(kernel, 4, 8, 0, table, out);
    cudaFree(table);
    return error;
}
