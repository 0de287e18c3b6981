// A gather whose last index is the number of rows.
// FINDS: out_of_bounds
__global__ void kernel(const float* table, const int* rows, float* out) {
    out[threadIdx.x] = __ldg(&table[8 * rows[threadIdx.x / 8] + static_cast<int>(threadIdx.x) % 8]);  // SECOND
}
int run() {
    const int rows[4] = {3, 0, 1, 4};
    int* device_rows = nullptr;
    cudaMalloc(&device_rows, sizeof rows);
    cudaMemcpy(device_rows, rows, sizeof rows, cudaMemcpyHostToDevice);
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(4 * 8), device_rows, out);
}
