// The buffer begins with its length, one word; the data behind it are read as float4.
// FINDS: misaligned
__global__ void kernel(const float* message, float* out) {
    const float4 four = __ldg(&reinterpret_cast<const float4*>(message + 1)[threadIdx.x]);  // SECOND
    out[threadIdx.x] = four.x * four.y * four.z * four.w;
}
int run() {
    float* out = numbers(8);
    return start(kernel, 1, 8, 0, numbers(33), out);
}
