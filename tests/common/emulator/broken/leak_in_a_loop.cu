// A buffer for each of three tiles, of which the last one is freed.
// FINDS: leak
int run() {
    float* tile = nullptr;
    for (int number = 0; number < 3; ++number) cudaMalloc(&tile, 256);  // SECOND
    cudaFree(tile);
    return 1;
}
