// The first element has no left neighbour.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    out[i] = in[i] - in[i - 1];  // SECOND
}
int run() {
    float* out = numbers(128);
    return start(kernel, 4, 32, 0, numbers(128), out);
}
