// 64 KiB of dynamic shared memory, asked for before.
__global__ void kernel(float* data) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = data[threadIdx.x];
}
int run() {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10);
    return attn::test::run_kernel(kernel, {1, 32, 64 << 10});
}
