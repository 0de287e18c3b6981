// The next tile is fetched while this one is worked on; in the last round there is none.
// FINDS: out_of_bounds
__global__ void kernel(const float* in, float* out, unsigned tiles) {
    float sum = 0, next = in[threadIdx.x];
    for (unsigned tile = 0; tile < tiles; ++tile) {
        const float value = next;
        next = in[(tile + 1) * blockDim.x + threadIdx.x];  // SECOND
        sum += value;
    }
    out[threadIdx.x] = sum + 0 * next;
}
int run() {
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(128), out, 4);
}
