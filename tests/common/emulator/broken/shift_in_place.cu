// Moves a row by one, in place, in global memory.
// FINDS: race
__global__ void kernel(float* data) {
    const float next = data[threadIdx.x + 1];  // FIRST
    data[threadIdx.x] = next;                  // SECOND
}
constexpr Launch launch{1, 64};
