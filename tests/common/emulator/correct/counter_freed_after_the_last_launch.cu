// Each repetition has a counter of its own, freed at its end.
__global__ void kernel(unsigned* counter) { atomicAdd(counter, 1u); }
int run() {
    int error = 0;
    for (int repetition = 0; repetition < 2; ++repetition) {
        unsigned* counter = nullptr;
        cudaMalloc(&counter, sizeof *counter);
        cudaMemset(counter, 0, sizeof *counter);
        error = start(kernel, 2, 32, 0, counter);
        cudaFree(counter);
    }
    return error;
}
