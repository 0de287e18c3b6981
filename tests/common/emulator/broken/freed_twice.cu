// Two owners free the same buffer.
// FINDS: invalid_free
int run() {
    float *data, *alias;
    cudaMalloc(&data, 256);
    alias = data;
    cudaFree(data);
    return cudaFree(alias);  // SECOND
}
