// The backward pass of dense attention: one thread for each element of a result, with the matrices of weights and of
// gradients of q·k in device memory. Gradients of shared key/value heads are summed by the thread that owns the
// element: no atomics, so the same bits on every run.
#include "chapters/00_dense_attention/dense_attention_backward.cuh"

#include "common/cuda/device_buffer.hpp"
#include "common/cuda/launch.hpp"

namespace attn::dense {
namespace {

constexpr int block_threads = 256;

struct Element {
    int b, h, row, column;
};

// The element of a tensor [B, heads, rows, columns] that this thread owns.
template <class T>
__device__ bool own_element(const TensorView<T, 4>& tensor, Element& element) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= tensor.count()) return false;
    const std::int64_t rows = index / tensor.extent(3), heads = rows / tensor.extent(2);
    element = {static_cast<int>(heads / tensor.extent(1)), static_cast<int>(heads % tensor.extent(1)),
               static_cast<int>(rows % tensor.extent(2)), static_cast<int>(index % tensor.extent(3))};
    return true;
}

// [19.3-6] correction = dO · O, one thread for each query
__global__ void row_corrections(TensorView<const float, 4> d_out, TensorView<const float, 4> out,
                                TensorView<float, 3> corrections) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= corrections.count()) return;
    const int columns = out.extent(3);
    float sum = 0;
    for (int d = 0; d < columns; ++d) sum += d_out.data()[index * columns + d] * out.data()[index * columns + d];
    corrections.data()[index] = sum;
}

// [19.3-7] the weight and the gradient of the score and of q·k, one thread for each pair
__global__ void score_gradients(Inputs<float> in, Options options, TensorView<const float, 3> log_sum_exp,
                                TensorView<const float, 3> corrections, TensorView<float, 4> weights,
                                TensorView<float, 4> d_dots) {
    Element e;
    if (!own_element(weights, e)) return;
    const Sizes size = in.sizes();
    if (e.column >= size.visible_keys(e.row, options.causal)) return;
    const int g = size.kv_head(e.h);
    const float scale = static_cast<float>(options.scale);
    float dot = 0, d_weight = 0;
    for (int d = 0; d < size.D; ++d) dot += in.q(e.b, e.h, e.row, d) * in.k(e.b, g, e.column, d);
    for (int d = 0; d < size.Dv; ++d) d_weight += in.d_out(e.b, e.h, e.row, d) * in.v(e.b, g, e.column, d);
    const float weight = expf(scale * dot - log_sum_exp(e.b, e.h, e.row));
    weights(e.b, e.h, e.row, e.column) = weight;
    const float d_score = weight * (d_weight - corrections(e.b, e.h, e.row));
    d_dots(e.b, e.h, e.row, e.column) = scale * d_score;
}

__global__ void query_gradients(Inputs<float> in, Options options, TensorView<const float, 4> d_dots,
                                TensorView<float, 4> d_q) {
    Element e;
    if (!own_element(d_q, e)) return;
    const Sizes size = in.sizes();
    float sum = 0;
    for (int j = 0; j < size.visible_keys(e.row, options.causal); ++j)
        sum += d_dots(e.b, e.h, e.row, j) * in.k(e.b, size.kv_head(e.h), j, e.column);
    d_q(e.b, e.h, e.row, e.column) = sum;
}

// d_k from (d_dots, q), d_v from (weights, d_out): over all queries of all heads that share the key/value head.
__global__ void key_gradients(Sizes size, Options options, TensorView<const float, 4> factors /* [B, H, Nq, Nk] */,
                              TensorView<const float, 4> rows /* [B, H, Nq, D] */,
                              TensorView<float, 4> gradient /* [B, G, Nk, D] */) {
    Element e;
    if (!own_element(gradient, e)) return;
    const int group = size.H / size.G;
    float sum = 0;
    for (int h = e.h * group; h < (e.h + 1) * group; ++h)
        for (int i = size.first_query(e.row, options.causal); i < size.Nq; ++i)
            sum += factors(e.b, h, i, e.row) * rows(e.b, h, i, e.column);
    gradient(e.b, e.h, e.row, e.column) = sum;
}

}  // namespace

inline namespace ATTN_BUILD {

void launch_backward(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    DeviceTensor<float, 3> corrections(out.log_sum_exp.shape());
    DeviceTensor<float, 4> weights({size.B, size.H, size.Nq, size.Nk}), d_dots(weights.view().shape());
    auto shape = [](const auto& tensor) {
        return LaunchShape{blocks_for(tensor.count(), block_threads), block_threads};
    };
    launch(row_corrections, shape(corrections.view()), in.d_out, out.out, corrections.view());
    launch(score_gradients, shape(weights.view()), in, options, out.log_sum_exp, corrections.view(), weights.view(),
           d_dots.view());
    launch(query_gradients, shape(out.d_q), in, options, d_dots.view(), out.d_q);
    launch(key_gradients, shape(out.d_k), size, options, d_dots.view(), in.q, out.d_k);
    launch(key_gradients, shape(out.d_v), size, options, weights.view(), in.d_out, out.d_v);
}

}  // namespace ATTN_BUILD
}  // namespace attn::dense
