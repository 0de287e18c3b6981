// Two names for one buffer, and the half that the second one names.
struct Buffer {
    float* data;
    unsigned count;
};
__global__ void kernel(Buffer out) {
    if (threadIdx.x < out.count) out.data[threadIdx.x] = 1;
}
int run() {
    const Buffer whole{numbers(64), 64};
    const Buffer second_half{whole.data + 32, 32};
    return start(kernel, 1, 64, 0, second_half);
}
