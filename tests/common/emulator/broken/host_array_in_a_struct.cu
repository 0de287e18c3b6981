// A struct goes to the kernel by value; the array that it points to stays on the host.
// FINDS: host_memory
struct Filter {
    const float* weights;
    int length;
};
__global__ void kernel(Filter filter, const float* in, float* out) {
    float sum = 0;
    for (int i = 0; i < filter.length; ++i) sum += filter.weights[i] * in[static_cast<int>(threadIdx.x) + i];  // SECOND
    out[threadIdx.x] = sum;
}
int run() {
    const float weights[3] = {0.25f, 0.5f, 0.25f};
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, Filter{weights, 3}, numbers(34), out);
}
