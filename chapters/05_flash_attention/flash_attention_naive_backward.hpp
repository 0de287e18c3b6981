// FlashAttention, naive, backward. Nobody kept the weights: each tile of them is computed anew, as
// exp(score - log_sum_exp).
//
//     dV = Pᵀ dO,   dP = dO Vᵀ,   dS = P ∘ (dP - rowsum(dO ∘ O)),   dQ = scale · dS K,   dK = scale · dSᵀ Q
//
// dK and dV are sums over queries, dQ is one over keys. So there are two passes, and each keeps its sums where they
// are. FlashAttention makes one pass, over the key tiles, and adds up dQ in memory: 5 products in the place of 7, but
// on a GPU in an order that changes from run to run.
#pragma once

#include "chapters/05_flash_attention/flash_attention_naive_forward.hpp"

namespace attn::flash_attention {

// [19.4.5-9] dO · O of each row: what the normalisation takes back
template <class T>
Tensor<T, 3> corrections(const Inputs<T>& in, const Outputs<T>& out) {
    const Sizes size = in.sizes();
    auto correction = make_tensor<T, 3>({{size.B, size.H, size.Nq}});
    for_each_head(size, [&](Head at) {
        for (int i = 0; i < size.Nq; ++i)
            for (int d = 0; d < size.Dv; ++d)
                correction(at.b, at.h, i) += in.d_out(at.b, at.h, i, d) * out.out(at.b, at.h, i, d);
    });
    return correction;
}

// The weights P of a tile, and the gradients dS of its products q · k.
template <class T>
struct TileGradients {
    Tensor<T, 2> P, dS;  // [Br, Bc]

    TileGradients(const Sizes& size, const Tiles& tiles)
        : P(make_tensor<T, 2>({{std::min(tiles.Br, size.Nq), std::min(tiles.Bc, size.Nk)}})), dS(P) {}

    void compute(const Inputs<T>& in, const Options& options, const Outputs<T>& out, const Tensor<T, 3>& correction,
                 Head at, Range rows, Range keys) {
        using std::exp;
        const Sizes size = in.sizes();
        const T scale = static_cast<T>(options.scale);
        tile_scores(in, options, at, rows, keys, view(P));
        for (int r = 0; r < rows.count; ++r)
            for (int c = 0; c < seen(size, options, rows.first + r, keys); ++c) {
                const int i = rows.first + r;
                // [19.4.5-10] weight, computed anew
                P(r, c) = exp(P(r, c) - out.log_sum_exp(at.b, at.h, i));
                // [19.4.5-11] gradient of the score, and through the scale that of the product q · k
                T d_weight = 0;
                for (int d = 0; d < size.Dv; ++d)
                    d_weight += in.d_out(at.b, at.h, i, d) * in.v(at.b, size.kv_head(at.h), keys.first + c, d);
                dS(r, c) = scale * (P(r, c) * (d_weight - correction(at.b, at.h, i)));
            }
    }
};

// dK and dV, one tile of keys after the other. Heads that share a key/value head add up.
template <class T>
void naive_backward_keys(const Inputs<T>& in, const Options& options, const Outputs<T>& out,
                         const Tensor<T, 3>& correction, const Tiles& tiles) {
    const Sizes size = in.sizes();
    TileGradients<T> tile(size, tiles);
    auto dK = make_tensor<T, 2>({{std::min(tiles.Bc, size.Nk), size.D}});
    auto dV = make_tensor<T, 2>({{std::min(tiles.Bc, size.Nk), size.Dv}});
    // [19.4.5-12] dV and dK of the tile: sums over the queries that see it
    const auto add = [&](Head at, Range rows, Range keys) {
        if (seen(size, options, rows.first + rows.count - 1, keys) == 0) return;
        tile.compute(in, options, out, correction, at, rows, keys);
        for (int r = 0; r < rows.count; ++r)
            for (int c = 0; c < seen(size, options, rows.first + r, keys); ++c) {
                for (int d = 0; d < size.Dv; ++d) dV(c, d) += tile.P(r, c) * in.d_out(at.b, at.h, rows.first + r, d);
                for (int d = 0; d < size.D; ++d) dK(c, d) += tile.dS(r, c) * in.q(at.b, at.h, rows.first + r, d);
            }
    };
    for (int b = 0; b < size.B; ++b)
        for (int g = 0; g < size.G; ++g)
            for_each_tile(size.Nk, tiles.Bc, [&](Range keys) {
                dK.fill(0), dV.fill(0);
                for (int h = 0; h < size.H; ++h)
                    if (size.kv_head(h) == g)
                        for_each_tile(size.Nq, tiles.Br, [&](Range rows) { add({b, h}, rows, keys); });
                for (int c = 0; c < keys.count; ++c) {
                    for (int d = 0; d < size.D; ++d) out.d_k(b, g, keys.first + c, d) = dK(c, d);
                    for (int d = 0; d < size.Dv; ++d) out.d_v(b, g, keys.first + c, d) = dV(c, d);
                }
            });
}

// dQ, one tile of queries after the other.
template <class T>
void naive_backward_queries(const Inputs<T>& in, const Options& options, const Outputs<T>& out,
                            const Tensor<T, 3>& correction, const Tiles& tiles) {
    const Sizes size = in.sizes();
    TileGradients<T> tile(size, tiles);
    auto dQ = make_tensor<T, 2>({{std::min(tiles.Br, size.Nq), size.D}});
    for_each_head(size, [&](Head at) {
        for_each_tile(size.Nq, tiles.Br, [&](Range rows) {
            dQ.fill(0);
            // [19.4.5-13] dQ of the tile: sums over the keys that it sees
            for_each_tile(size.visible_keys(rows.first + rows.count - 1, options.causal), tiles.Bc, [&](Range keys) {
                tile.compute(in, options, out, correction, at, rows, keys);
                for (int r = 0; r < rows.count; ++r)
                    for (int c = 0; c < seen(size, options, rows.first + r, keys); ++c)
                        for (int d = 0; d < size.D; ++d)
                            dQ(r, d) += tile.dS(r, c) * in.k(at.b, size.kv_head(at.h), keys.first + c, d);
            });
            for (int r = 0; r < rows.count; ++r)
                for (int d = 0; d < size.D; ++d) out.d_q(at.b, at.h, rows.first + r, d) = dQ(r, d);
        });
    });
}

template <class T>
void naive_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, const Tiles& tiles = {}) {
    const auto correction = corrections(in, out);  // [B, H, Nq]: beside the tiles, all that is held
    naive_backward_keys(in, options, out, correction, tiles);
    naive_backward_queries(in, options, out, correction, tiles);
}

}  // namespace attn::flash_attention
