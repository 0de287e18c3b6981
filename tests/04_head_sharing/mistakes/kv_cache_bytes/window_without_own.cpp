// Wrong: the window counts the positions before the newest.
#include "chapters/04_head_sharing/exercises/kv_cache_bytes.hpp"

#include <algorithm>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::kv_cache_bytes {

// ---- your code ----

void kv_cache_bytes(const Inputs& in, const Options& options, const Outputs& out) {
    const int layers = in.window.extent(0), G = in.window.extent(1), B = in.length.extent(0);
    auto row_bytes = [&](int numbers) { return (std::int64_t{numbers} * options.number_bits + 7) / 8; };
    const std::int64_t position_bytes = row_bytes(options.head_dim) + row_bytes(options.value_dim);
    for (int layer = 0; layer < layers; ++layer) {
        std::int64_t held = 0, read = 0;  // positions
        for (int g = 0; g < G; ++g)
            for (int b = 0; b < B; ++b) {
                const int window = in.window(layer, g), length = in.length(b);
                const std::int64_t positions = window == 0 ? length : std::min(window + 1, length);
                const std::int64_t pages = (positions + options.page - 1) / options.page;
                held += pages * options.page;
                read += positions;
            }
        out.held(layer) = held * position_bytes;
        out.read(layer) = read * position_bytes;
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::kv_cache_bytes
