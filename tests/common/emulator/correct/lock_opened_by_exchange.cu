// A lock that is taken and given back by atomic operations.
__global__ void kernel(float* data) {
    auto* lock = reinterpret_cast<unsigned*>(data);
    if (threadIdx.x != 0) return;
    while (atomicCAS(lock, 0u, 1u) != 0) {
    }
    __threadfence();
    data[1] += 1;
    __threadfence();
    atomicExch(lock, 0u);
}
constexpr Launch launch{3, 32};
