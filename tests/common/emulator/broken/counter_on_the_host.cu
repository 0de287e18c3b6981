// All blocks count in a variable that the host made with new.
// FINDS: host_memory
__global__ void kernel(const float* in, unsigned* counter) {
    if (in[blockIdx.x * blockDim.x + threadIdx.x] > 50) atomicAdd(counter, 1u);  // SECOND
}
int run() {
    auto* counter = new unsigned(0);
    const int error = start(kernel, 4, 32, 0, numbers(128), counter);
    delete counter;
    return error;
}
