// 62 elements: fifteen float4, and the tail one by one.
__global__ void kernel(float* data, unsigned count) {
    const unsigned i = threadIdx.x, whole = count / 4;
    if (i < whole) reinterpret_cast<float4*>(data)[i] = make_float4(0, 0, 0, 0);
    if (i < count % 4) data[4 * whole + i] = 0;
}
int run() { return start(kernel, 1, 32, 0, numbers(62), 62); }
