// Frees with cudaFree() what new gave.
// FINDS: invalid_free
int run() {
    auto* values = new float[64];
    const int error = cudaFree(values);  // SECOND
    delete[] values;
    return error;
}
