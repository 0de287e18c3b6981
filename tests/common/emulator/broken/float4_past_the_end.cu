// 62 elements, written four at a time: the last float4 is only half inside.
// FINDS: out_of_bounds
__global__ void kernel(float4* data, unsigned count) {
    const unsigned i = threadIdx.x;
    if (4 * i < count) data[i] = make_float4(0, 0, 0, 0);  // SECOND
}
int run() { return start(kernel, 1, 32, 0, reinterpret_cast<float4*>(numbers(62)), 62); }
