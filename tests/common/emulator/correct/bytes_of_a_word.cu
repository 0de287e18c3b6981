// Neighbouring bytes, written by different threads.
__global__ void kernel(float* data) {
    __shared__ unsigned char bytes[64];
    bytes[threadIdx.x] = static_cast<unsigned char>(threadIdx.x);
    reinterpret_cast<unsigned char*>(data + 64)[threadIdx.x] = bytes[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 16) data[threadIdx.x] = static_cast<float>(reinterpret_cast<unsigned*>(bytes)[threadIdx.x]);
}
constexpr Launch launch{1, 64};
