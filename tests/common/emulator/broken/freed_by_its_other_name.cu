// Two names for one buffer: freed by the one, written by the other.
// FINDS: use_after_free
struct Buffer {
    float* data;
    unsigned count;
};
__global__ void kernel(Buffer out) {
    if (threadIdx.x < out.count) out.data[threadIdx.x] = 1;  // SECOND
}
int run() {
    const Buffer whole{numbers(64), 64};
    const Buffer second_half{whole.data + 32, 32};
    cudaFree(whole.data);
    return start(kernel, 1, 64, 0, second_half);
}
