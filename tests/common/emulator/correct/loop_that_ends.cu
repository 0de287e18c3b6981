// Halves a number until it is 0.
__global__ void kernel(float* data) {
    int steps = static_cast<int>(data[threadIdx.x]);
    while (steps > 0) {
        data[threadIdx.x] = data[threadIdx.x] / 2;
        steps /= 2;
    }
}
constexpr Launch launch{1, 32};
