// Rows for each of no threads. On a GPU no error, and a quotient that means nothing.
// FINDS: exception
__global__ void kernel(float* data) {
    const int threads = static_cast<int>(data[threadIdx.x]);
    data[threadIdx.x] = static_cast<float>(100 / threads);  // SECOND
}
constexpr Launch launch{1, 32};
