// The elements of a std::vector, copied to the device.
__global__ void kernel(const float* in, float* out) { out[threadIdx.x] = 2 * in[threadIdx.x]; }
int run() {
    const std::vector<float> in(32, 1.0f);
    float* device_in = nullptr;
    cudaMalloc(&device_in, in.size() * sizeof(float));
    cudaMemcpy(device_in, in.data(), in.size() * sizeof(float), cudaMemcpyHostToDevice);
    const int error = start(kernel, 1, 32, 0, device_in, numbers(32));
    cudaFree(device_in);
    return error;
}
