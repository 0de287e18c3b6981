// Each thread adds two elements, a block's width apart; only the first is guarded.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out, unsigned count) {
    const unsigned i = blockIdx.x * 2 * blockDim.x + threadIdx.x;
    if (i < count) out[blockIdx.x * blockDim.x + threadIdx.x] = in[i] + in[i + blockDim.x];  // SECOND
}
int run() {
    float* out = numbers(64);
    return start(kernel, 2, 32, 0, numbers(120), out, 120);
}
