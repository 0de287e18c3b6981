// Who happens to run together is not who will call the shuffle.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    float value = data[threadIdx.x];
    if (value < 24) value += __shfl_xor_sync(__activemask(), value, 1);  // SECOND
    data[threadIdx.x] = value;
}
constexpr Launch launch{1, 32};
