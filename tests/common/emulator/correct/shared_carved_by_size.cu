// The values first, then the flags, which may begin anywhere.
__global__ void kernel(float* data, unsigned flag_count) {
    extern __shared__ float values[];
    auto* flags = reinterpret_cast<unsigned char*>(values + blockDim.x);
    if (threadIdx.x < flag_count) flags[threadIdx.x] = data[threadIdx.x] > 5;
    values[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[threadIdx.x] = flags[threadIdx.x / 2] ? values[63 - threadIdx.x] : 0;
}
int run() { return start(kernel, 1, 64, 33 + 64 * sizeof(float), numbers(64), 33); }
