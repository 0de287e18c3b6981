// Each side has the row length of its own.
__global__ void kernel(const float* in, float* out, int rows, int columns) {
    const int row = static_cast<int>(threadIdx.y), column = static_cast<int>(threadIdx.x);
    if (row >= rows || column >= columns) return;
    out[column * rows + row] = in[row * columns + column];
}
int run() {
    float* out = numbers(8 * 24);
    return start(kernel, 1, dim3(24, 8), 0, numbers(8 * 24), out, 8, 24);
}
