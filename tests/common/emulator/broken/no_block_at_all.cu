// The number of blocks is rounded down: 100 elements have none.
// FINDS: launch_limit
__global__ void kernel(float* data) { data[threadIdx.x] = 1; }
int run() {
    const unsigned count = 100, threads = 128;
    return attn::test::run_kernel(kernel, {count / threads, threads});  // SECOND
}
