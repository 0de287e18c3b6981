// Records of 5 bytes, a tag and a number: only every fourth number starts at a multiple of 4.
// FINDS: misaligned
__global__ void kernel(const unsigned char* records, float* out) {
    const unsigned char* record = records + 5 * threadIdx.x;
    const int number = *reinterpret_cast<const int*>(record + 1);  // SECOND
    out[threadIdx.x] = record[0] ? static_cast<float>(number) : 0;
}
int run() {
    unsigned char* records = nullptr;
    cudaMalloc(&records, 32 * 5);
    cudaMemset(records, 1, 32 * 5);
    return start(kernel, 1, 32, 0, records, numbers(32));
}
