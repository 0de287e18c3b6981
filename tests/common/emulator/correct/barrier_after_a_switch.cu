// Each warp has a task of its own; the barrier comes after them.
__global__ void kernel(float* data) {
    __shared__ float row[96];
    row[threadIdx.x] = data[threadIdx.x];
    switch (threadIdx.x / 32) {
        case 0: row[threadIdx.x] += 1; break;
        case 1: row[threadIdx.x] *= 2; break;
        default:;
    }
    __syncthreads();
    data[threadIdx.x] = row[95 - threadIdx.x];
}
constexpr Launch launch{1, 96};
