// cudaMemcpy takes bytes, and was given elements.
// FINDS: never_written
__global__ void kernel(const float* in, float* out) {
    out[threadIdx.x] = in[threadIdx.x] * in[threadIdx.x];  // SECOND
}
int run() {
    const std::vector<float> in(64, 1.0f);
    float* device_in = nullptr;
    cudaMalloc(&device_in, in.size() * sizeof(float));
    cudaMemcpy(device_in, in.data(), in.size(), cudaMemcpyHostToDevice);
    return start(kernel, 1, 64, 0, device_in, numbers(64));
}
