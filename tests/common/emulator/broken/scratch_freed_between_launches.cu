// The second kernel adds up partial sums that are gone.
// FINDS: use_after_free
__global__ void add(const float* in, float* sums) {
    if (threadIdx.x > 0) return;
    float sum = 0;
    for (unsigned i = 0; i < 32; ++i) sum += in[blockIdx.x * 32 + i];
    sums[blockIdx.x] = sum;
}
__global__ void add_sums(const float* sums, unsigned count, float* out) {
    float sum = 0;
    for (unsigned i = 0; i < count; ++i) sum += sums[i];  // SECOND
    *out = sum;
}
int run() {
    float *in = numbers(128), *sums = numbers(4), *out = numbers(1);
    start(add, 4, 32, 0, in, sums);
    cudaFree(sums);
    return start(add_sums, 1, 1, 0, sums, 4, out);
}
