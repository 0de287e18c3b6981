// The way out where there is nothing to do forgets the buffer.
// FINDS: leak
int run() {
    float* data;
    const int count = 0;
    cudaMalloc(&data, 256);  // SECOND
    if (count == 0) return 1;
    return cudaFree(data);
}
