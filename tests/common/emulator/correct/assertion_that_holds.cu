// An index that is what the author assumed.
__global__ void kernel(float* data, int count) {
    const int target = static_cast<int>(data[threadIdx.x]) * 2;
    assert(target < count);
    if (blockIdx.x == 0) data[64 + target] = 1;
}
int run() { return start(kernel, 2, 32, 0, numbers(128), 64); }
