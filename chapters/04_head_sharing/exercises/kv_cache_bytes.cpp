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
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("kv_cache_bytes");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::kv_cache_bytes
