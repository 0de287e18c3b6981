// 32 KiB of static and 32 KiB of dynamic shared memory: each is allowed, both are not.
// FINDS: launch_limit
__global__ void kernel(float* data) {
    extern __shared__ float keys[];
    __shared__ float queries[8192];
    keys[threadIdx.x] = queries[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[threadIdx.x] = keys[31 - threadIdx.x] + queries[31 - threadIdx.x];
}
int run() {
    return attn::test::run_kernel(kernel, {1, 32, 32 << 10});  // SECOND
}
