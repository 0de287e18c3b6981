// A convolution whose window is clipped at both ends.
__global__ void kernel(const float* in, float* out, int count, int radius) {
    const int i = static_cast<int>(threadIdx.x);
    float sum = 0;
    for (int at = max(i - radius, 0); at <= min(i + radius, count - 1); ++at) sum += in[at];
    out[i] = sum;
}
int run() {
    float* out = numbers(64);
    return start(kernel, 1, 64, 0, numbers(64), out, 64, 2);
}
