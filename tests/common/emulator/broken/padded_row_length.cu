// The kernel is told a row length with padding; the buffer has none.
// FINDS: out_of_bounds
__global__ void kernel(float* data, unsigned pitch) {
    float* row = data + blockIdx.x * pitch;
    row[threadIdx.x] += 1;  // SECOND
}
int run() { return start(kernel, 8, 24, 0, numbers(8 * 24), 32); }
