// A lock that is taken by an atomic operation, and given back by a plain store.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    auto* lock = reinterpret_cast<unsigned*>(data);
    if (threadIdx.x % 32 != 0) return;
    while (atomicCAS(lock, 0u, 1u) != 0) {  // SECOND
    }
    __threadfence();
    data[1] += 1;
    __threadfence();
    *lock = 0;  // FIRST
}
constexpr Launch launch{1, 96};
