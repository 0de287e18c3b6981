// Frees the second of two tensors that lie in one buffer.
// FINDS: invalid_free
int run() {
    float* tensors;
    cudaMalloc(&tensors, 256);
    const int error = cudaFree(tensors + 32);  // SECOND
    cudaFree(tensors);
    return error;
}
