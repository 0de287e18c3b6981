// 16-bit counters, increased by an atomic operation on the word that they stand in.
__global__ void kernel(unsigned short* counters) {
    auto* word = reinterpret_cast<unsigned*>(counters) + threadIdx.x / 2;
    atomicAdd(word, threadIdx.x % 2 ? 1u << 16 : 1u);
}
int run() {
    unsigned short* counters = nullptr;
    cudaMalloc(&counters, 32 * sizeof *counters);
    cudaMemset(counters, 0, 32 * sizeof *counters);
    const int error = start(kernel, 1, 32, 0, counters);
    cudaFree(counters);
    return error;
}
