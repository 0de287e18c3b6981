// cudaMalloc takes bytes, and these are bytes.
__global__ void kernel(const float* in, unsigned char* out) {
    out[threadIdx.x] = static_cast<unsigned char>(in[threadIdx.x]);
}
int run() {
    unsigned char* out = nullptr;
    cudaMalloc(&out, 64);
    const int error = start(kernel, 1, 64, 0, numbers(64), out);
    cudaFree(out);
    return error;
}
