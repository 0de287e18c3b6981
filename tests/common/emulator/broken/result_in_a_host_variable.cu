// The result is to go straight into a variable of the host.
// FINDS: host_memory
__global__ void kernel(const float* in, float* sum) {
    float total = 0;
    for (int i = 0; i < 32; ++i) total += in[i];
    *sum = total;  // SECOND
}
int run() {
    float sum = 0;
    return start(kernel, 1, 1, 0, numbers(32), &sum);
}
