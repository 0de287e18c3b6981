// The index is used before it is asked.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out, unsigned count) {
    unsigned i = threadIdx.x;
    while (in[i] != 7 && i < count) ++i;  // SECOND
    out[threadIdx.x] = static_cast<float>(i);
}
int run() {
    float* out = numbers(20);
    return start(kernel, 1, 20, 0, numbers(20), out, 20);
}
