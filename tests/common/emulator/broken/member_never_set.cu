// One of the pointers of the argument was never set.
// FINDS: out_of_bounds
struct Layer {
    const float* weights = nullptr;
    const float* bias = nullptr;
};
__global__ void kernel(Layer layer, float* out) {
    out[threadIdx.x] = layer.weights[threadIdx.x] + layer.bias[threadIdx.x];  // SECOND
}
int run() {
    Layer layer;
    layer.weights = numbers(32);
    return start(kernel, 1, 32, 0, layer, numbers(32));
}
