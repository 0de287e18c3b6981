// A bias that is not there, at an offset: far from address 0.
// FINDS: out_of_bounds
__global__ void kernel(const float* bias, float* out) {
    out[threadIdx.x] = bias[2048 + threadIdx.x];  // SECOND
}
int run() { return start(kernel, 1, 32, 0, static_cast<const float*>(nullptr), numbers(32)); }
