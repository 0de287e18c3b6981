// Wrong: the formulas of the chapter (kv_cache.hpp, grouped_query.hpp), where all heads have one window.
#include "chapters/04_head_sharing/exercises/kv_cache_bytes.hpp"

#include <algorithm>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::kv_cache_bytes {

// ---- your code ----

namespace {

struct Paging {
    int pages, page;
};
Paging paging(int Nk, int window, int page) {
    int positions = Nk;
    if (window > 0) positions = std::min(positions, window);
    return {(positions + page - 1) / page, page};
}

// Bytes that one position takes in one layer: G keys of D numbers and G values of Dv.
constexpr std::int64_t bytes_per_position(int G, int D, int Dv, int number_bytes) {
    return std::int64_t{G} * (D + Dv) * number_bytes;
}

// Bytes of the cache of `layers` layers and B sequences of n positions. Generating a token reads all of them once.
constexpr std::int64_t bytes(int layers, int B, int n, int G, int D, int Dv, int number_bytes) {
    return std::int64_t{layers} * B * n * bytes_per_position(G, D, Dv, number_bytes);
}

}  // namespace

void kv_cache_bytes(const Inputs& in, const Options& options, const Outputs& out) {
    const int layers = in.window.extent(0), G = in.window.extent(1), B = in.length.extent(0);
    for (int layer = 0; layer < layers; ++layer) {
        std::int64_t all = 0;
        for (int b = 0; b < B; ++b) {
            const Paging paged = paging(in.length(b), in.window(layer, 0), options.page);
            all +=
                bytes(1, 1, paged.pages * paged.page, G, options.head_dim, options.value_dim, options.number_bits / 8);
        }
        out.held(layer) = out.read(layer) = all;
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::kv_cache_bytes
