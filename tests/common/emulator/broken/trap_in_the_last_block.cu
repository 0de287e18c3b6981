// One thread of the last block meets a case that was never to be.
// FINDS: assertion
enum class Kind { none, some, all };
__device__ float weight(Kind kind) {
    switch (kind) {
        case Kind::none: return 0;
        case Kind::some: return 0.5f;
        case Kind::all: return 1;
    }
    __trap();  // SECOND
}
__global__ void kernel(float* data) {
    const int number = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
    data[number] = weight(static_cast<Kind>(number < 100 ? number % 3 : 3));
}
constexpr Launch launch{4, 32};
