// The index takes row and column in the wrong order; a square matrix would have hidden it.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out, int rows, int columns) {
    const int row = static_cast<int>(threadIdx.y), column = static_cast<int>(threadIdx.x);
    if (row >= rows || column >= columns) return;
    out[row * columns + column] = in[column * columns + row];  // SECOND
}
int run() {
    float* out = numbers(8 * 24);
    return start(kernel, 1, dim3(24, 8), 0, numbers(8 * 24), out, 8, 24);
}
