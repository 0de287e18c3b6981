// Programs that end badly, by the name that is their argument: CMakeLists.txt says what each must say at the end.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

__global__ void use_much_stack(float* data) {
    float local[1 << 16];
    for (int i = 0; i < 1 << 16; ++i) local[i] = data[i % 64];
    data[0] = local[static_cast<int>(data[5])];
}

// clang-format off
void host_access() {
    float* data = nullptr;
    cudaMalloc(&data, 256);
    std::printf("%f\n", data[3]);
}
void host_copy() {
    float *data = nullptr, host[64];
    cudaMalloc(&data, 256);
    std::memcpy(host, data, 256);
    std::printf("%f\n", host[3]);
}
void leak() {
    float* data = nullptr;
    for (int i = 0; i < 2; ++i) cudaMalloc(&data, 256);
}
// clang-format on
void stack() {
    float* data = nullptr;
    cudaMalloc(&data, 256);
    cudaMemset(data, 0, 256);
    cudaLaunchConfig_t config;
    cudaLaunchKernelEx(&config, use_much_stack, data);
}

int main(int, char** arguments) {
    const struct {
        const char* name;
        void (*run)();
    } programs[] = {{"host_access", host_access}, {"host_copy", host_copy}, {"leak", leak}, {"stack", stack}};
    for (const auto& program : programs)
        if (std::strcmp(program.name, arguments[1]) == 0) program.run();
}
