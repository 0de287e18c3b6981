// Every block adds to one __device__ counter, without an atomic operation.
// FINDS: race
__device__ int counter;
__global__ void kernel(float* data) {
    if (data[0] == 0) counter = counter + 1;  // FIRST // SECOND
}
constexpr Launch launch{2, 1};
