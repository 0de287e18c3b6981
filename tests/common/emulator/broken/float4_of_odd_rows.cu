// Rows of 30 elements: every second one does not start at a multiple of 16 bytes.
// FINDS: misaligned
__global__ void kernel(const float* in, float* out) {
    const float* row = in + 30 * blockIdx.x;
    const float4 four = reinterpret_cast<const float4*>(row)[threadIdx.x];  // SECOND
    out[7 * blockIdx.x + threadIdx.x] = four.x + four.y + four.z + four.w;
}
int run() {
    float* out = numbers(28);
    return start(kernel, 4, 7, 0, numbers(120), out);
}
