// Points of three coordinates, read as float4: nobody has written the fourth.
// FINDS: never_written
__global__ void fill(float* points) {
    if (threadIdx.x % 4 < 3) points[threadIdx.x] = static_cast<float>(threadIdx.x);
}
__global__ void measure(const float4* points, float* out) {
    const float4 point = points[threadIdx.x];  // SECOND
    out[threadIdx.x] = point.x * point.x + point.y * point.y + point.z * point.z;
}
int run() {
    float* points = nullptr;
    cudaMalloc(&points, 64 * sizeof(float));
    start(fill, 1, 64, 0, points);
    return start(measure, 1, 16, 0, reinterpret_cast<const float4*>(points), numbers(16));
}
