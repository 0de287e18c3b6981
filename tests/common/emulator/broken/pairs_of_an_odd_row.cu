// 63 elements, read two at a time: the last pair is half outside.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out) {
    const float2 pair = reinterpret_cast<const float2*>(in)[threadIdx.x];  // SECOND
    out[threadIdx.x] = pair.x + pair.y;
}
int run() {
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(63), out);
}
