// cudaMalloc takes bytes, and was given elements.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out) {
    out[threadIdx.x] = in[threadIdx.x];  // SECOND
}
int run() {
    float* out = nullptr;
    cudaMalloc(&out, 64);
    return start(kernel, 1, 64, 0, numbers(64), out);
}
