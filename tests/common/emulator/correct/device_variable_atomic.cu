// Every block adds to one __device__ counter.
__device__ int atomic_counter;
__global__ void kernel(float* data) {
    if (data[0] == 0) atomicAdd(&atomic_counter, 1);
}
constexpr Launch launch{2, 1};
