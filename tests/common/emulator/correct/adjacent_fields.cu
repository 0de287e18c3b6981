// Of each pair the left member is written, and read.
struct Pair {
    int left, right;
};
__global__ void kernel(const Pair* pairs, float* out, bool is_left) {
    const Pair* p = &pairs[threadIdx.x];
    int v;
    if (is_left)
        v = p->left;
    else
        v = p->right;
    out[threadIdx.x] = static_cast<float>(v);
}
__global__ void fill(Pair* pairs) { pairs[threadIdx.x].left = 1; }
int run() {
    Pair* p = nullptr;
    cudaMalloc(&p, 32 * sizeof(Pair));
    start(fill, 1, 32, 0, p);
    const int error = start(kernel, 1, 32, 0, const_cast<const Pair*>(p), numbers(32), true);
    cudaFree(p);
    return error;
}
