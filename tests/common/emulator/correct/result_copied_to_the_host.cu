// The result goes into device memory, and from there into a variable of the host.
__global__ void kernel(const float* in, float* sum) {
    float total = 0;
    for (int i = 0; i < 32; ++i) total += in[i];
    *sum = total;
}
int run() {
    float sum = 0;
    float* device_sum = nullptr;
    cudaMalloc(&device_sum, sizeof sum);
    start(kernel, 1, 1, 0, numbers(32), device_sum);
    const int error = cudaMemcpy(&sum, device_sum, sizeof sum, cudaMemcpyDeviceToHost);
    cudaFree(device_sum);
    return error;
}
