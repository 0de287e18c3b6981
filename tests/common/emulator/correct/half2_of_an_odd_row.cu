// 33 halves: sixteen pairs, and one alone.
__global__ void kernel(const __half* in, float* out, unsigned count) {
    if (2 * threadIdx.x + 1 < count) {
        const half2 pair = reinterpret_cast<const half2*>(in)[threadIdx.x];
        out[threadIdx.x] = __low2float(pair) + __high2float(pair);
    } else {
        out[threadIdx.x] = __half2float(in[2 * threadIdx.x]);
    }
}
int run() {
    __half* in = nullptr;
    cudaMalloc(&in, 33 * sizeof(__half));
    cudaMemset(in, 0, 33 * sizeof(__half));
    float* out = numbers(17);
    const int error = start(kernel, 1, 17, 0, in, out, 33);
    cudaFree(in);
    return error;
}
