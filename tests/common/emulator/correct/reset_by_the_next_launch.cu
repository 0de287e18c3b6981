// A kernel of its own sets back the counters, when all blocks have added to them.
__global__ void add(float* data) { atomicAdd(&data[threadIdx.x / 16], 1.0f); }
__global__ void reset(float* data) { data[threadIdx.x] = 0; }
int run() {
    float* data = numbers(4);
    start(add, 3, 64, 0, data);
    start(reset, 1, 4, 0, data);
    return start(add, 3, 64, 0, data);
}
