// The lanes that run together make one atomic operation for all of them, whoever they are.
__global__ void kernel(float* data) {
    auto* counter = reinterpret_cast<unsigned*>(data + 512);
    if (threadIdx.x == 0) atomicExch(counter, 0u);
    __syncthreads();
    if (data[threadIdx.x] <= 7) return;
    const unsigned active = __activemask(), lane = threadIdx.x % 32;
    const int leader = __ffs(static_cast<int>(active)) - 1;
    unsigned base = 0;
    if (static_cast<int>(lane) == leader) base = atomicAdd(counter, static_cast<unsigned>(__popc(active)));
    base = __shfl_sync(active, base, leader);
    data[576 + base + static_cast<unsigned>(__popc(active & ((1u << lane) - 1)))] = data[threadIdx.x];
}
constexpr Launch launch{1, 64};
