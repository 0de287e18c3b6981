// Four columns of padding: each row starts at a multiple of 16 bytes.
__global__ void kernel(float* data) {
    __shared__ __align__(16) float tile[8][36];
    const unsigned row = threadIdx.x / 8, column = threadIdx.x % 8 * 4;
    const float4 four = reinterpret_cast<const float4*>(data)[threadIdx.x];
    *reinterpret_cast<float4*>(&tile[row][column]) = four;
    __syncthreads();
    data[threadIdx.x] = tile[threadIdx.x % 8][threadIdx.x / 8];
}
constexpr Launch launch{1, 64};
