// Bytes that were written as words, halves as pairs.
__global__ void kernel(float* data) {
    __shared__ __align__(4) unsigned words[32];
    __shared__ half2 pairs[32];
    words[threadIdx.x] = __float_as_uint(data[threadIdx.x]);
    pairs[threadIdx.x] = __floats2half2_rn(1, 2);
    __syncthreads();
    const auto* bytes = reinterpret_cast<const unsigned char*>(words);
    const auto* halves = reinterpret_cast<const __half*>(pairs);
    data[threadIdx.x] = bytes[4 * threadIdx.x + 3] + __half2float(halves[63 - threadIdx.x]);
}
constexpr Launch launch{1, 32};
