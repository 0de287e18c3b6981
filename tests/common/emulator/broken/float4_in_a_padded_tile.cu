// The column that keeps a tile free of bank conflicts keeps float4 from starting at multiples of 16 bytes.
// FINDS: misaligned
__global__ void kernel(float* data) {
    __shared__ float tile[8][33];
    const unsigned row = threadIdx.x / 8, column = threadIdx.x % 8 * 4;
    const float4 four = reinterpret_cast<const float4*>(data)[threadIdx.x];
    *reinterpret_cast<float4*>(&tile[row][column]) = four;  // SECOND
    __syncthreads();
    data[threadIdx.x] = tile[threadIdx.x % 8][threadIdx.x / 8];
}
constexpr Launch launch{1, 64};
