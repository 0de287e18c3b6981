// Flags first, then the values: these begin at byte 33 of the shared memory.
// FINDS: misaligned
__global__ void kernel(float* data, unsigned flag_count) {
    extern __shared__ unsigned char memory[];
    auto* values = reinterpret_cast<float*>(memory + flag_count);
    if (threadIdx.x < flag_count) memory[threadIdx.x] = data[threadIdx.x] > 5;
    values[threadIdx.x] = data[threadIdx.x];  // SECOND
    __syncthreads();
    data[threadIdx.x] = memory[threadIdx.x / 2] ? values[63 - threadIdx.x] : 0;
}
int run() { return start(kernel, 1, 64, 33 + 64 * sizeof(float), numbers(64), 33); }
