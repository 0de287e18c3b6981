// All lanes vote; each takes the bits up to itself.
__global__ void kernel(float* data) {
    const unsigned lane = threadIdx.x % 32, up_to_here = 0xffffffffu >> (31 - lane);
    const unsigned ballot = __ballot_sync(0xffffffffu, data[threadIdx.x] > 5);
    data[threadIdx.x] = static_cast<float>(__popc(ballot & up_to_here));
}
constexpr Launch launch{1, 32};
