// Each index is asked before it is used: by && and by ?:, and by the end of a loop.
__global__ void kernel(const float* in, float* out, unsigned count) {
    const unsigned i = threadIdx.x;
    float sum = i < count ? in[i] : 0;
    if (i < count && in[i] > 5 && i + 1 < count && in[i + 1] > 5) sum += in[i + 1];
    for (unsigned k = i; k < count && in[k] != 7; ++k) sum += in[k];
    out[i] = sum;
}
int run() {
    float* out = numbers(64);
    return start(kernel, 1, 64, 0, numbers(20), out, 20);
}
