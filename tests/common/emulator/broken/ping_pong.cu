// Two steps of a stencil in one launch: the second reads what the neighbours wrote in the first.
// FINDS: race
__global__ void kernel(float* data) {
    float *from = data, *to = data + 256;
    const unsigned i = blockIdx.x * 32 + threadIdx.x;
    for (int step = 0; step < 2; ++step) {
        const float right = i + 1 < 128 ? from[i + 1] : 0;  // FIRST
        to[i] = (from[i] + right) / 2;                      // SECOND
        __syncthreads();
        float* swapped = from;
        from = to, to = swapped;
    }
}
constexpr Launch launch{4, 32};
