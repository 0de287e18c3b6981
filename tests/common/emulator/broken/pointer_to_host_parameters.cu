// The parameters go to the kernel by a pointer to the host's variable.
// FINDS: host_memory
struct Parameters {
    unsigned count;
    float factor;
};
__global__ void kernel(const Parameters* parameters, float* data) {
    if (threadIdx.x < parameters->count)  // SECOND
        data[threadIdx.x] *= parameters->factor;
}
int run() {
    const Parameters parameters{20, 2};
    return start(kernel, 1, 32, 0, &parameters, numbers(32));
}
