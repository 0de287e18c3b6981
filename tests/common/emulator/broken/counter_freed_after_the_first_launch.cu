// One counter for all repetitions, freed at the end of each.
// FINDS: use_after_free
__global__ void kernel(unsigned* counter) {
    atomicAdd(counter, 1u);  // SECOND
}
int run() {
    unsigned* counter = nullptr;
    cudaMalloc(&counter, sizeof *counter);
    cudaMemset(counter, 0, sizeof *counter);
    for (int repetition = 0; repetition < 2; ++repetition) {
        if (const int error = start(kernel, 2, 32, 0, counter)) return error;
        cudaFree(counter);
    }
    return 0;
}
