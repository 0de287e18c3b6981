// Each lane votes with the lanes up to itself, so that no two have the same mask.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    const unsigned lane = threadIdx.x % 32, up_to_here = 0xffffffffu >> (31 - lane);
    const unsigned ballot = __ballot_sync(up_to_here, data[threadIdx.x] > 5);  // SECOND
    __syncwarp();
    data[threadIdx.x] = static_cast<float>(__popc(ballot));
}
constexpr Launch launch{1, 32};
