// A binary search that knows that there may be no such element.
__global__ void kernel(const float* sorted, float* out, unsigned count) {
    const float wanted = static_cast<float>(2 * threadIdx.x);
    unsigned low = 0, high = count;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (sorted[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    out[threadIdx.x] = low < count && sorted[low] == wanted ? 1 : 0;
}
int run() {
    float* out = numbers(32);
    return start(kernel, 1, 32, 0, numbers(50), out, 50);
}
