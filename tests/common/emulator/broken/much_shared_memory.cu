// 64 KiB of dynamic shared memory that were not asked for.
// FINDS: launch_limit
__global__ void kernel(float* data) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = data[threadIdx.x];
}
int run() {
    return attn::test::run_kernel(kernel, {1, 32, 64 << 10});  // SECOND
}
