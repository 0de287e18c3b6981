// The input comes in two parts, the second behind the first.
__global__ void kernel(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x] * in[threadIdx.x]; }
int run() {
    const std::vector<float> in(64, 1.0f);
    float* device_in = nullptr;
    cudaMalloc(&device_in, in.size() * sizeof(float));
    cudaMemcpy(device_in, in.data(), 20 * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemcpy(device_in + 20, in.data() + 20, 44 * sizeof(float), cudaMemcpyHostToDevice);
    const int error = start(kernel, 1, 64, 0, device_in, numbers(64));
    cudaFree(device_in);
    return error;
}
