// A ragged matrix with both guards.
__global__ void kernel(float* data, int rows, int columns) {
    const int row = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (row >= rows || column >= columns) return;
    const float value = data[row * columns + column];
    if (value > 100) data[row * columns + column] = 100;
}
int run() { return start(kernel, dim3(3, 2), dim3(8, 8), 0, numbers(11 * 20), 11, 20); }
