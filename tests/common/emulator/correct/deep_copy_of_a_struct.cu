// A struct was copied to the device, with the data that it points to.
struct Matrix {
    float* data;
    unsigned rows, columns;
};
__global__ void kernel(const Matrix* in, float* out) {
    const unsigned row = threadIdx.y, column = threadIdx.x;
    if (row < in->rows && column < in->columns) out[row * in->columns + column] = in->data[row * in->columns + column];
}
int run() {
    const Matrix in{numbers(64), 8, 8};
    Matrix* device_in = nullptr;
    cudaMalloc(&device_in, sizeof in);
    cudaMemcpy(device_in, &in, sizeof in, cudaMemcpyHostToDevice);
    const int error = start(kernel, 1, dim3(8, 8), 0, device_in, numbers(64));
    cudaFree(device_in);
    return error;
}
