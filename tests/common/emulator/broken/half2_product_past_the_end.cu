// Operators of half2 on two rows, of which one is shorter.
// FINDS: out_of_bounds
__global__ void kernel(half2* left, const half2* right) {
    const unsigned i = threadIdx.x;
    left[i] = left[i] * right[i];  // SECOND
}
int run() {
    half2 *left = nullptr, *right = nullptr;
    cudaMalloc(&left, 32 * sizeof(half2));
    cudaMalloc(&right, 30 * sizeof(half2));
    cudaMemset(left, 0, 32 * sizeof(half2));
    cudaMemset(right, 0, 30 * sizeof(half2));
    return start(kernel, 1, 32, 0, left, right);
}
