// Mamba on the GPU. Channels stand in rows and tokens in columns, as the convolution and the scan want it: the product
// with W_in makes them so, and that with W_out turns them back. The convolution is one pass over its inputs, and the
// scan another over its own.
#include "chapters/07_beyond_attention/mamba/mamba.cuh"

#include "chapters/07_beyond_attention/selective_scan/selective_scan.cuh"
#include "common/cuda/layer.cuh"
#include "common/cuda/on_device.hpp"
#include "common/cuda/vector_access.hpp"

namespace attn::mamba {
namespace {

constexpr int block_threads = 256, warps = block_threads / 32, warp_tokens = 128;

__global__ void make_decay_rates(TensorView<const float, 2> a_log, TensorView<float, 2> a) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index < a.count()) a.data()[index] = -expf(a_log.data()[index]);
}

// What a warp of the convolution has in shared memory: the inputs before its tokens, the tokens, the weights. Each
// begins at a multiple of 16 bytes.
ATTN_HOST_DEVICE constexpr int up_to_four(int count) { return (count + 3) / 4 * 4; }
ATTN_HOST_DEVICE constexpr int warp_numbers(int W) { return up_to_four(W - 1) + warp_tokens + up_to_four(W); }

// [19.4.7-16] causal convolution over W tokens, and SiLU. x, u [B, Di, count]; before, after [B, Di, W-1]: what stood
// in front of x, and what stands in front of the next chunk. A warp: 128 tokens of a channel, which it brings into
// shared memory with the W - 1 before them and the W weights.
template <bool Aligned>
__global__ void __launch_bounds__(block_threads, 4)
    convolve(TensorView<const float, 3> x, TensorView<const float, 3> before, TensorView<const float, 2> weight,
             TensorView<const float, 1> bias, TensorView<float, 3> u, TensorView<float, 3> after) {
    extern __shared__ __align__(16) float memory[];
    const int count = x.extent(2), W = weight.extent(1), Di = x.extent(1),
              parts = (count + warp_tokens - 1) / warp_tokens;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const std::int64_t own = std::int64_t{blockIdx.x} * warps + warp;
    if (own >= std::int64_t{x.extent(0)} * Di * parts) return;  // the whole warp together
    const int first = static_cast<int>(own % parts) * warp_tokens, d = static_cast<int>(own / parts % Di);
    const int b = static_cast<int>(own / parts / Di);
    float* tokens = memory + warp * warp_numbers(W) + up_to_four(W - 1);  // tokens[-1]: the one before the first
    float* weights = tokens + warp_tokens;
    const auto input = [&](int t) { return t < 0 ? before(b, d, W - 1 + t) : x(b, d, t); };

    *reinterpret_cast<float4*>(&tokens[4 * lane]) = load_four<Aligned>(&x(b, d, 0), first + 4 * lane, count);
    for (int back = lane + 1; back < W; back += 32) tokens[-back] = input(first - back);
    for (int j = lane; j < W; j += 32) weights[j] = weight(d, j);
    __syncwarp();  // the tokens and the weights are complete
    for (int t = lane; t < warp_tokens && first + t < count; t += 32) {
        float sum = bias(d);
        for (int j = 0; j < W; ++j) sum = fmaf(weights[j], tokens[t - (W - 1) + j], sum);
        u(b, d, first + t) = silu(sum);
    }
    if (first + warp_tokens >= count)
        for (int j = lane; j < W - 1; j += 32) after(b, d, j) = input(count - (W - 1) + j);
}

// RMSNorm of each column of each matrix [rows, columns], in place: a thread for each. In Jamba.
__global__ void normalise_columns(TensorView<float, 3> matrices, TensorView<const float, 1> weight, float epsilon) {
    const int rows = matrices.extent(1), columns = matrices.extent(2);
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{matrices.extent(0)} * columns) return;
    const int b = static_cast<int>(index / columns), t = static_cast<int>(index % columns);
    float squares = 0;
    for (int row = 0; row < rows; ++row) squares = fmaf(matrices(b, row, t), matrices(b, row, t), squares);
    const float root = sqrtf(squares / static_cast<float>(rows) + epsilon);
    for (int row = 0; row < rows; ++row) matrices(b, row, t) = matrices(b, row, t) / root * weight(row);
}

LaunchShape threads_for(std::int64_t count) { return {blocks_for(count, block_threads), block_threads}; }

void convolve_on_device(const TensorView<const float, 3>& x, const TensorView<const float, 3>& before,
                        const Weights<float>& w, const TensorView<float, 3>& u, const TensorView<float, 3>& after) {
    const int count = x.extent(2);
    const std::int64_t rows = std::int64_t{x.extent(0)} * x.extent(1);
    launch(count % 4 == 0 ? convolve<true> : convolve<false>,
           {blocks_for(rows * blocks_for(count, warp_tokens), warps), block_threads,
            static_cast<std::size_t>(warps * warp_numbers(w.sizes().W)) * sizeof(float)},
           x, before, w.conv_weight, w.conv_bias, u, after);
}

// The matrices of a tensor [B, rows, columns], one for each sequence.
template <class T>
Rows<T> rows_of(const TensorView<T, 3>& tensor) {
    const std::int64_t columns = tensor.extent(2);
    return {tensor.data(), columns, 1 << 30, 0, tensor.extent(1) * columns};
}
// `rows` rows of a weight, from row `first` on; the same for all sequences.
Rows<const float> weight_rows(const TensorView<const float, 2>& weight, int first) {
    return {weight.data() + std::int64_t{first} * weight.extent(1), weight.extent(1)};
}

}  // namespace

inline namespace ATTN_BUILD {

Layer::Layer(const Weights<float>& weights, double norm_epsilon, int B)
    : w_(weights),
      size_(weights.sizes()),
      norm_epsilon_(norm_epsilon),
      B_(B),
      a_({size_.Di, size_.S}, "decay rates A"),
      windows_{DeviceTensor<float, 3>({B, size_.Di, size_.W - 1}, "window of the convolution"),
               DeviceTensor<float, 3>({B, size_.Di, size_.W - 1}, "window of the convolution")},
      h_({B, size_.Di, size_.S}, "state of the scan") {
    launch(make_decay_rates, threads_for(a_.view().count()), w_.a_log, a_.view());
    windows_[0].fill_with_zeros(), h_.fill_with_zeros();
}

void Layer::advance(const Rows<const float>& hidden, const Rows<float>& out, int count) {
    const auto [Dm, Di, S, W, R] = size_;
    const Rows<const float> hidden_of_sequences{hidden.data, hidden.row_stride, 1 << 30, 0, hidden.batch_stride};
    const Rows<float> out_of_sequences{out.data, out.row_stride, 1 << 30, 0, out.batch_stride};
    const Shape<3> channels{{B_, Di, count}}, states{{B_, S, count}};
    DeviceTensor<float, 3> x(channels, "x"), z(channels, "z"), u(channels, "u"), delta(channels, "Δ");
    DeviceTensor<float, 3> dt({B_, R, count}, "dt"), b(states, "B"), c(states, "C");

    // [19.4.7-15] x, and the gate z
    multiply(weight_rows(w_.in_proj, 0), hidden_of_sequences, rows_of(x.view()), Di, count, Dm, B_);
    multiply(weight_rows(w_.in_proj, Di), hidden_of_sequences, rows_of(z.view()), Di, count, Dm, B_);

    convolve_on_device(x.view(), windows_[now_].view(), w_, u.view(), windows_[1 - now_].view());
    now_ = 1 - now_;

    // [19.4.7-17] Δ, B and C of each token, made out of u
    const Rows<const float> made_from = rows_of(u.view());
    const auto make = [&](const DeviceTensor<float, 3>& to, int first_row, const TensorView<const float, 1>& norm) {
        const int rows = to.view().extent(1);
        multiply_by_transposed(weight_rows(w_.x_proj, first_row), made_from, rows_of(to.view()), rows, count, Di, B_);
        if (norm)
            launch(normalise_columns, threads_for(std::int64_t{B_} * count), to.view(), norm,
                   static_cast<float>(norm_epsilon_));
    };
    make(dt, 0, w_.dt_norm), make(b, R, w_.b_norm), make(c, R + S, w_.c_norm);
    multiply_by_transposed(weight_rows(w_.dt_proj, 0), rows_of(dt.view()), rows_of(delta.view()), Di, count, R, B_);

    // [19.4.7-18] the selective scan, from the state on, and gated. y takes the place of x.
    const selective_scan::Inputs<float> scan{u.view(), delta.view(), a_.view(),  b.view(), c.view(),
                                             w_.d,     z.view(),     w_.dt_bias, h_.view()};
    selective_scan::scan_on_device(scan, scan_options(), {x.view(), h_.view()});

    // [19.4.7-19] output
    multiply_by_transposed_turned(weight_rows(w_.out_proj, 0), rows_of(x.view()), out_of_sequences, Dm, count, Di, B_);
}

}  // namespace ATTN_BUILD

namespace {

void launch_layer(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    Layer layer(in.weights, options.norm_epsilon, in.hidden.extent(0));
    for_each_step(in.hidden.extent(1), options.prefill, [&](const Step& step) {
        layer.advance(position_rows(in.hidden, step.first, step.count), position_rows(out.out, step.first, step.count),
                      step.count);
    });
}

}  // namespace
}  // namespace attn::mamba

ATTN_CUDA_VERSION("mamba", "fused_scan", "projections by tiled products, the convolution and the scan one pass each",
                  attn::mamba::launch_layer, attn::mamba::Inputs<float>, attn::mamba::Options,
                  attn::mamba::Outputs<float>)
