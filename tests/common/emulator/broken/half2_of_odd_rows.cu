// Rows of 15 halves: the second one starts in the middle of a word.
// FINDS: misaligned
__global__ void kernel(__half* data) {
    auto* row = reinterpret_cast<half2*>(data + 15 * blockIdx.x);
    row[threadIdx.x] = __floats2half2_rn(0, 1);  // SECOND
}
int run() {
    __half* data = nullptr;
    cudaMalloc(&data, 4 * 15 * sizeof(__half));
    return start(kernel, 4, 7, 0, data);
}
