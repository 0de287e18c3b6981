// Operators of half2 on two rows, as far as both go.
__global__ void kernel(half2* left, const half2* right, unsigned count) {
    const unsigned i = threadIdx.x;
    if (i < count) left[i] = left[i] * right[i];
}
int run() {
    half2 *left = nullptr, *right = nullptr;
    cudaMalloc(&left, 32 * sizeof(half2));
    cudaMalloc(&right, 30 * sizeof(half2));
    cudaMemset(left, 0, 32 * sizeof(half2));
    cudaMemset(right, 0, 30 * sizeof(half2));
    const int error = start(kernel, 1, 32, 0, left, right, 30);
    cudaFree(left);
    cudaFree(right);
    return error;
}
