// Each thread adds two elements, a block's width apart, each with its guard.
__global__ void kernel(const float* in, float* out, unsigned count) {
    const unsigned i = blockIdx.x * 2 * blockDim.x + threadIdx.x;
    float sum = i < count ? in[i] : 0;
    if (i + blockDim.x < count) sum += in[i + blockDim.x];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
int run() {
    float* out = numbers(64);
    return start(kernel, 2, 32, 0, numbers(120), out, 120);
}
