// Causal attention: scores are computed up to the diagonal, and read over the whole row.
// FINDS: never_written
__global__ void scores(const float* in, float* out) {
    const unsigned query = threadIdx.y, key = threadIdx.x;
    if (key <= query) out[8 * query + key] = in[query] * in[key];
}
__global__ void row_maximum(const float* in, float* out) {
    float maximum = in[8 * threadIdx.x];
    for (unsigned key = 1; key < 8; ++key) maximum = fmaxf(maximum, in[8 * threadIdx.x + key]);  // SECOND
    out[threadIdx.x] = maximum;
}
int run() {
    float* matrix = nullptr;
    cudaMalloc(&matrix, 64 * sizeof(float));
    start(scores, 1, dim3(8, 8), 0, numbers(8), matrix);
    return start(row_maximum, 1, 8, 0, matrix, numbers(8));
}
