// 63 elements in a buffer that was rounded up to a whole pair.
__global__ void kernel(const float* in, float* out) {
    const float2 pair = reinterpret_cast<const float2*>(in)[threadIdx.x];
    out[threadIdx.x] = 2 * threadIdx.x + 1 < 63 ? pair.x + pair.y : pair.x;
}
int run() {
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(64), out);
}
