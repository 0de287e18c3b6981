// 33 halves, read as pairs.
// FINDS: out_of_bounds
__global__ void kernel(const __half* in, float* out) {
    const half2 pair = reinterpret_cast<const half2*>(in)[threadIdx.x];  // SECOND
    out[threadIdx.x] = __low2float(pair) + __high2float(pair);
}
int run() {
    __half* in = nullptr;
    cudaMalloc(&in, 33 * sizeof(__half));
    cudaMemset(in, 0, 33 * sizeof(__half));
    float* out = numbers(17);
    return start(kernel, 1, 17, 0, in, out);
}
