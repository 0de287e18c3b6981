// A pointer that may be null, and is asked.
struct Layer {
    const float* weights = nullptr;
    const float* bias = nullptr;
};
__global__ void kernel(Layer layer, float* out) {
    out[threadIdx.x] = layer.weights[threadIdx.x] + (layer.bias ? layer.bias[threadIdx.x] : 0);
}
int run() {
    Layer layer;
    layer.weights = numbers(32);
    return start(kernel, 1, 32, 0, layer, numbers(32));
}
