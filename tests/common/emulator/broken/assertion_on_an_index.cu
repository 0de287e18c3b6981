// An index that is not what the author assumed.
// FINDS: assertion
__global__ void kernel(float* data, int count) {
    const int target = static_cast<int>(data[threadIdx.x]) * 3;
    assert(target < count);  // SECOND
    data[64 + target] = 1;
}
int run() { return start(kernel, 2, 32, 0, numbers(128), 64); }
