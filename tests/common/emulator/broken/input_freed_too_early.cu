// The input is freed when it has been copied to the GPU, before the kernel reads it.
// FINDS: use_after_free
__global__ void kernel(const float* in, float* out) {
    out[threadIdx.x] = 3 * in[threadIdx.x];  // SECOND
}
int run() {
    float *in = numbers(32), *out = numbers(32);
    cudaFree(in);
    return start(kernel, 1, 32, 0, in, out);
}
