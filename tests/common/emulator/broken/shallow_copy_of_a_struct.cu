// A struct was copied to the device; the data that it points to was not.
// FINDS: host_memory
struct Matrix {
    float* data;
    unsigned rows, columns;
};
__global__ void kernel(const Matrix* in, float* out) {
    const unsigned row = threadIdx.y, column = threadIdx.x;
    if (row < in->rows && column < in->columns)
        out[row * in->columns + column] = in->data[row * in->columns + column];  // SECOND
}
int run() {
    std::vector<float> values(64, 1.0f);
    const Matrix in{values.data(), 8, 8};
    Matrix* device_in = nullptr;
    cudaMalloc(&device_in, sizeof in);
    cudaMemcpy(device_in, &in, sizeof in, cudaMemcpyHostToDevice);
    return start(kernel, 1, dim3(8, 8), 0, device_in, numbers(64));
}
