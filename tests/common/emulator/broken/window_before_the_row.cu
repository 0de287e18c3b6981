// A convolution whose window begins left of the first row.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out, int radius) {
    const int i = static_cast<int>(threadIdx.x);
    float sum = 0;
    for (int offset = -radius; offset <= radius; ++offset) sum += in[i + offset];  // SECOND
    out[i] = sum;
}
int run() {
    float* out = numbers(64);
    return start(kernel, 1, 64, 0, numbers(64), out, 2);
}
