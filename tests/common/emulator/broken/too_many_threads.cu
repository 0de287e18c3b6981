// A thread for each of 2048 elements, in one block.
// FINDS: launch_limit
__global__ void kernel(float* data) { data[threadIdx.x % 1024] = 1; }
int run() {
    return attn::test::run_kernel(kernel, {1, 2048});  // SECOND
}
