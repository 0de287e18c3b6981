// Block 1 waits for a flag that block 0 sets. Blocks are started in the order of their indices on every GPU known, if
// not by the word of CUDA.
// IN ORDER ONLY
__global__ void kernel(float* data) {
    if (blockIdx.x == 1) {
        while (atomicAdd(data, 0.0f) == 0) {
        }
    } else {
        atomicAdd(data, 1.0f);
    }
}
constexpr Launch launch{2, 1};
