// Jamba on the GPU: the layers of the other mechanisms, one after the other, all sequences at once. New keys and values
// go straight from their products into the KV cache; a dense network is a mixture of one expert.
#include "chapters/07_beyond_attention/jamba/jamba.hpp"

#include <memory>

#include "chapters/04_head_sharing/grouped_query/grouped_query.cuh"
#include "chapters/07_beyond_attention/mamba/mamba.cuh"
#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.cuh"
#include "common/cuda/layer.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::jamba {
namespace {

// The KV cache of one layer: a page for each sequence.
struct Cache {
    DeviceTensor<float, 4> k, v;  // [B, G, L, Dh]
    DeviceTensor<int, 2> table;   // [B, 1]

    Cache(Shape<4> shape, const std::vector<int>& own_pages)
        : k(shape, "cache of keys"),
          v(shape, "cache of values"),
          table(TensorView<const int, 2>(own_pages.data(), {{shape[0], 1}}), "page table") {
        k.fill_with_nan(), v.fill_with_nan();  // nobody may look at what is not in use
    }
};

class Stack {
  public:
    Stack(const Inputs<float>& inputs, const Options& stack_options)
        : in_(inputs),
          options_(stack_options),
          B_(inputs.hidden.extent(0)),
          L_(inputs.hidden.extent(1)),
          Dm_(inputs.hidden.extent(2)) {
        const std::vector<int> own_pages = kv_cache::own_pages(B_);
        for (const Layer<float>& layer : in_.layers) {
            caches_.emplace_back(), states_.emplace_back();
            if (layer.has_attention)
                caches_.back() = std::make_unique<Cache>(
                    Shape<4>{{B_, options_.num_key_value_heads, L_, head_dim(layer.attention, options_)}}, own_pages);
            else
                states_.back() = std::make_unique<mamba::Layer>(layer.mamba, options_.rms_norm_eps, B_);
        }
    }

    // The next positions of all sequences.
    void advance(const Step& step, const TensorView<float, 3>& out) {
        const Shape<3> shape{{B_, step.count, Dm_}};
        const int rows = B_ * step.count;
        DeviceTensor<float, 3> x(shape, "hidden"), normed(shape, "normed hidden"), added(shape, "output of a part");
        const auto all = [&](const DeviceTensor<float, 3>& tensor) {
            return position_rows(tensor.view(), 0, step.count);
        };
        const auto normalise = [&](const TensorView<const float, 1>& weight, const Rows<float>& to) {
            rms_norm(all(x), to, rows, Dm_, weight.data(), options_.rms_norm_eps);  // [19.4.7-25]
        };

        copy_rows(position_rows(in_.hidden, step.first, step.count), all(x), rows, 1, Dm_);
        for (std::size_t i = 0; i < in_.layers.size(); ++i) {
            const Layer<float>& layer = in_.layers[i];
            normalise(layer.input_norm, all(normed));
            if (layer.has_attention)
                attend(layer.attention, *caches_[i], step, all(normed), all(added));
            else
                states_[i]->advance(all(normed), all(added), step.count);
            add_rows(all(added), all(x), rows, Dm_);
            normalise(layer.feed_forward_norm, all(normed));
            feed_forward(layer, normed.view(), added.view());
            add_rows(all(added), all(x), rows, Dm_);
        }
        if (in_.final_norm)
            normalise(in_.final_norm, position_rows(out, step.first, step.count));
        else
            copy_rows(all(x), position_rows(out, step.first, step.count), rows, 1, Dm_);
    }

  private:
    // Positions first … first + count - 1 of all heads of a tensor [B, heads, length, Dh].
    static Rows<float> heads(const TensorView<float, 4>& tensor, int first, int count) {
        const std::int64_t Dh = tensor.extent(3), head = tensor.extent(2) * Dh;
        return {tensor.data() + first * Dh, Dh, count, tensor.extent(1) * head, head};
    }

    // [19.4.7-26] causal grouped-query attention through the KV cache, without positions
    void attend(const Attention<float>& w, Cache& cache, const Step& step, const Rows<const float>& x,
                const Rows<float>& out) const {
        const int H = options_.num_attention_heads, G = options_.num_key_value_heads, Dh = head_dim(w, options_);
        const int rows = B_ * step.count, n = step.first + step.count;
        DeviceTensor<float, 4> q({B_, H, step.count, Dh}, "queries"),
            means({B_, H, step.count, Dh}, "means of the values");
        DeviceTensor<float, 3> log_sum_exp({B_, H, step.count}, "log_sum_exp");
        const auto project = [&](const TensorView<const float, 2>& weight, const Rows<float>& to, int head_count) {
            const Rows<const float> of_heads{weight.data(), Dm_, 1 << 30, 0, std::int64_t{Dh} * Dm_};
            multiply(x, of_heads, to, rows, Dh, Dm_, head_count);
        };
        project(w.w_q, heads(q.view(), 0, step.count), H);
        project(w.w_k, heads(cache.k.view(), step.first, step.count), G);
        project(w.w_v, heads(cache.v.view(), step.first, step.count), G);

        const Shape<4> keys{{B_, G, n, Dh}};  // of which the cache has the first n positions
        grouped_query::attend_on_device({q.view(), {cache.k.view().data(), keys}, {cache.v.view().data(), keys}, {}},
                                        {cache.k.view(), cache.v.view(), cache.table.view()},
                                        {.causal = true, .scale = 1 / std::sqrt(Dh)}, {0, step.count, n},
                                        {means.view(), log_sum_exp.view(), {}, {}, {}});

        DeviceTensor<float, 3> side_by_side({B_, step.count, H * Dh}, "means of all heads");
        const Rows<float> results{side_by_side.view().data(), std::int64_t{H} * Dh, 1 << 30, 0, Dh};
        copy_rows(heads(means.view(), 0, step.count), results, rows, H, Dh);
        multiply({results.data, results.row_stride}, {w.w_o.data(), std::int64_t{H} * Dh}, out, rows, Dm_, H * Dh);
    }

    // [19.4.7-27] feed-forward: the experts that each token chooses, or one network for all
    void feed_forward(const Layer<float>& layer, const TensorView<float, 3>& x, const TensorView<float, 3>& out) const {
        if (layer.has_experts) {
            const auto& [router, gate, up, down] = layer.experts;
            DeviceTensor<std::int32_t, 3> chosen({B_, x.extent(1), options_.num_experts_per_tok}, "chosen experts");
            mixture_of_experts::feed_forward({x, router, gate, up, down}, {options_.num_experts_per_tok, false},
                                             {out, chosen.view()});
            return;
        }
        const auto& [gate, up, down] = layer.feed_forward;
        const auto one = [](const TensorView<const float, 2>& weight) {
            return TensorView<const float, 3>{weight.data(), {{1, weight.extent(0), weight.extent(1)}}};
        };
        DeviceTensor<float, 2> router({1, Dm_}, "router of one expert");
        router.fill_with_zeros();
        DeviceTensor<std::int32_t, 3> chosen({B_, x.extent(1), 1}, "chosen experts");
        mixture_of_experts::feed_forward({x, router.view(), one(gate), one(up), one(down)}, {1, false},
                                         {out, chosen.view()});
    }

    const Inputs<float>& in_;
    const Options& options_;
    const int B_, L_, Dm_;
    std::vector<std::unique_ptr<Cache>> caches_;         // of each layer of attention
    std::vector<std::unique_ptr<mamba::Layer>> states_;  // of each other layer
};

void launch_stack(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    Stack stack(in, options);
    for_each_step(in.hidden.extent(1), options.prefill, [&](const Step& step) { stack.advance(step, out.out); });
}

}  // namespace
}  // namespace attn::jamba

ATTN_CUDA_VERSION("jamba", "mixed_cache",
                  "all sequences at once; layers of attention keep keys and values, the others a state",
                  attn::jamba::launch_stack, attn::jamba::Inputs<float>, attn::jamba::Options,
                  attn::jamba::Outputs<float>)
