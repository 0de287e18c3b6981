// Pairs that overlap: every second one begins at an odd element.
// FINDS: misaligned
__global__ void kernel(const float* in, float* out) {
    const float2 pair = *reinterpret_cast<const float2*>(&in[threadIdx.x]);  // SECOND
    out[threadIdx.x] = pair.y - pair.x;
}
int run() {
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(33), out);
}
