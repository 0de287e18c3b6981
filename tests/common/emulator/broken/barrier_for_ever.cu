// Iterates until nothing changes; but something always does.
// FINDS: endless_loop
__global__ void kernel(float* data) {
    int changed = 1;
    while (changed) {
        data[threadIdx.x] += 1;
        changed = __syncthreads_or(data[threadIdx.x] > 0);  // SECOND
    }
}
constexpr Launch launch{1, 64};
