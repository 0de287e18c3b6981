// Exercise kv_cache_bytes: what the KV cache of a model takes, and what generating one token reads of it, layer by
// layer, where each key/value head has a window of its own.
//
//     positions of a head, for one sequence:  all of them, or the last `window` where it has a window
//     held:  its positions in whole pages     read:  its positions as they are
//
// C++, about 20 minutes, easy. Builds on: bytes_per_position in kv_cache.hpp and paging in grouped_query.hpp, where all
// heads have one window, and all sequences one length.
// Some layers see all positions and others few (Gemma 2, arXiv 2408.00118), or some heads of a layer (DuoAttention,
// arXiv 2410.10819); caches are kept in pages (arXiv 2309.06180), their numbers in few bits (KIVI, arXiv 2402.02750).
//
// What to write: for each layer, summed over its G key/value heads and the B sequences,
//   held  bytes of memory. A head takes whole pages: one as soon as a position stands in it, with room for the keys and
//         values of `page` positions. With a window its pages are a ring: new positions overwrite those that no query
//         will see any more.
//   read  bytes of the keys and values that the newest query of each sequence sees, each of them once.
//
// Mind:
//   - A key is D numbers of `number_bits` bits and takes whole bytes; so does a value, of Dv numbers.
//   - Each sequence has pages of its own, and so has each key/value head. A sequence of length 0 has none.
//   - A sequence may be shorter than a window.
//   - A model's cache has more bytes than an int can count.
//   - H stands among the options because every model's configuration names it. Does it belong into a formula here?
#include "chapters/04_head_sharing/exercises/kv_cache_bytes.hpp"

#include <algorithm>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::kv_cache_bytes {

// ---- your code ----

void kv_cache_bytes(const Inputs& in, const Options& options, const Outputs& out) {
    const int layers = in.window.extent(0), G = in.window.extent(1), B = in.length.extent(0);
    auto row_bytes = [&](int numbers) { return (std::int64_t{numbers} * options.number_bits + 7) / 8; };
    // Of one position in one head. How many query heads read it is not in it.
    const std::int64_t position_bytes = row_bytes(options.head_dim) + row_bytes(options.value_dim);
    for (int layer = 0; layer < layers; ++layer) {
        std::int64_t held = 0, read = 0;  // positions
        for (int g = 0; g < G; ++g)
            for (int b = 0; b < B; ++b) {
                const int window = in.window(layer, g), length = in.length(b);
                const std::int64_t positions = window == 0 ? length : std::min(window, length);
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
