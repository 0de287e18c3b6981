// A lock between blocks, given back by a plain store: of what two blocks do to it, the two stores are named.
// FINDS: race
__global__ void kernel(float* data) {
    auto* lock = reinterpret_cast<unsigned*>(data);
    if (threadIdx.x != 0) return;
    while (atomicCAS(lock, 0u, 1u) != 0) {
    }
    __threadfence();
    data[1] += 1;
    __threadfence();
    *lock = 0;  // FIRST  // SECOND
}
constexpr Launch launch{3, 32};
