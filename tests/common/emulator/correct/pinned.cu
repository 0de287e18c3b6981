// Pinned memory of the host: a kernel may use it, if slowly.
__global__ void kernel(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x] + 6; }
int run() {
    float* in = nullptr;
    cudaMallocHost(reinterpret_cast<void**>(&in), 32 * sizeof(float));
    for (int i = 0; i < 32; ++i) in[i] = 1;
    const int error = start(kernel, 1, 32, 0, const_cast<const float*>(in), numbers(32));
    cudaFreeHost(in);
    return error;
}
