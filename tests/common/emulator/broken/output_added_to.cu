// += where the output has no value yet.
// FINDS: never_written
__global__ void kernel(const float* in, float* out) {
    for (unsigned k = 0; k < 4; ++k) out[threadIdx.x] += in[32 * k + threadIdx.x];  // SECOND
}
int run() {
    float* out = nullptr;
    cudaMalloc(&out, 32 * sizeof(float));
    return start(kernel, 1, 32, 0, numbers(128), out);
}
