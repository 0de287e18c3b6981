// The elements of a std::vector are memory of the host.
// FINDS: host_memory
__global__ void kernel(const float* in, float* out) {
    out[threadIdx.x] = 2 * in[threadIdx.x];  // SECOND
}
int run() {
    const std::vector<float> in(32, 1.0f);
    return start(kernel, 1, 32, 0, in.data(), numbers(32));
}
