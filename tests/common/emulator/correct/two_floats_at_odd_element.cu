// Pairs that overlap, read as two elements.
struct Pair {
    float x, y;
};
__global__ void kernel(const float* in, float* out) {
    const Pair pair = *reinterpret_cast<const Pair*>(&in[threadIdx.x]);
    out[threadIdx.x] = pair.y - pair.x;
}
int run() {
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(33), out);
}
