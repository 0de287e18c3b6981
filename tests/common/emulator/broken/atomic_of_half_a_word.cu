// 16-bit counters, increased by an atomic operation of 32 bits.
// FINDS: misaligned
__global__ void kernel(unsigned short* counters) {
    atomicAdd(reinterpret_cast<unsigned*>(&counters[threadIdx.x]), 1u);  // SECOND
}
int run() {
    unsigned short* counters = nullptr;
    cudaMalloc(&counters, 33 * sizeof *counters);
    cudaMemset(counters, 0, 33 * sizeof *counters);
    return start(kernel, 1, 32, 0, counters);
}
