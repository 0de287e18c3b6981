// Iterates until nothing changes.
__global__ void kernel(float* data) {
    int changed = 1;
    while (changed) {
        if (data[threadIdx.x] > 0) data[threadIdx.x] -= 1;
        changed = __syncthreads_or(data[threadIdx.x] > 0);
    }
}
constexpr Launch launch{1, 64};
