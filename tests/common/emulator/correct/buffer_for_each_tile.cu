// A buffer for each of three tiles, freed in another order.
int run() {
    float* tiles[3];
    for (float*& tile : tiles) cudaMalloc(&tile, 256);
    for (int number : {1, 0, 2}) cudaFree(tiles[number]);
    return 0;
}
