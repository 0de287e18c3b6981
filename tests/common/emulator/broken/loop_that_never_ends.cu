// Halves a number until it is 0; but the number that is halved is another one.
// FINDS: endless_loop
__global__ void kernel(float* data) {
    int steps = static_cast<int>(data[threadIdx.x]);
    while (steps > 0) data[threadIdx.x] = data[threadIdx.x] / 2;  // SECOND
}
constexpr Launch launch{1, 32};
