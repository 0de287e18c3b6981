// The KV cache: the keys and values of all positions so far, kept so that a new token computes only its own.
//
// Book 19.2 and 19.4, family 4. One rule says where a position stands, and makes three kinds of cache:
//   contiguous  one page for each sequence, as long as the sequence may get
//   paged       small pages out of one pool, which a sequence takes as it grows (Kwon et al. 2023, arXiv 2309.06180)
//   ring        where only the last positions are looked at (a window): new ones overwrite the oldest
#pragma once

#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/tensor/tensor_view.hpp"

namespace attn::kv_cache {

// Does not own. Position j of sequence b: page table(b, j / page % pages) of the pool, slot j % page.
template <class T>
struct KvCache {
    TensorView<T, 4> k;              // [P, G, page, D]: a pool of P pages
    TensorView<T, 4> v;              // [P, G, page, Dv]
    TensorView<const int, 2> table;  // [B, pages]

    ATTN_HOST_DEVICE constexpr int page() const { return k.extent(2); }
    ATTN_HOST_DEVICE constexpr int capacity() const { return table.extent(1) * page(); }

    // The row of the pools in which position j stands, for key/value head g: D, or Dv, numbers.
    ATTN_HOST_DEVICE constexpr int row(int b, int g, int j) const {
        return (table(b, j / page() % table.extent(1)) * k.extent(1) + g) * page() + j % page();
    }
    ATTN_HOST_DEVICE constexpr T* key(int b, int g, int j) const { return key_row(row(b, g, j)); }
    ATTN_HOST_DEVICE constexpr T* value(int b, int g, int j) const { return value_row(row(b, g, j)); }
    ATTN_HOST_DEVICE constexpr T* key_row(int row) const { return k.data() + std::int64_t{row} * k.extent(3); }
    ATTN_HOST_DEVICE constexpr T* value_row(int row) const { return v.data() + std::int64_t{row} * v.extent(3); }

    KvCache<const T> read_only() const { return {k, v, table}; }
};

struct CacheError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Throws CacheError where the table names a page that the pool does not have, or one page twice: two positions would
// overwrite each other. `table` in host memory.
inline void check_table(TensorView<const int, 2> table, int pool_pages) {
    std::vector<int> owner(static_cast<std::size_t>(pool_pages), -1);
    for (int b = 0; b < table.extent(0); ++b)
        for (int p = 0; p < table.extent(1); ++p) {
            const int page = table(b, p);
            const std::string entry = "page table: entry " + std::to_string(p) + " of sequence " + std::to_string(b) +
                                      " is page " + std::to_string(page);
            if (page < 0 || page >= pool_pages)
                throw CacheError(entry + ", expected 0 … " + std::to_string(pool_pages - 1));
            int& before = owner[static_cast<std::size_t>(page)];
            if (before >= 0) throw CacheError(entry + ", which sequence " + std::to_string(before) + " has already");
            before = b;
        }
}

// Throws CacheError where `count` positions more, after `length`, would overwrite one that is still looked at.
// `window`: how many positions a query sees, its own included; 0 for all.
inline void check_append(int capacity, int length, int count, int window) {
    if (length + count <= capacity || (window > 0 && window + count - 1 <= capacity)) return;
    throw CacheError("the cache has room for " + std::to_string(capacity) + " positions and holds " +
                     std::to_string(length) + ": " + std::to_string(count) + " more do not fit" +
                     (window > 0 ? " beside a window of " + std::to_string(window) : ""));
}

// Writes positions first … first + count - 1 of k [B, G, N, D] and v [B, G, N, Dv] into the cache.
template <class T>
void append(const KvCache<T>& cache, TensorView<const T, 4> k, TensorView<const T, 4> v, int first, int count) {
    for (int b = 0; b < k.extent(0); ++b)
        for (int g = 0; g < k.extent(1); ++g)
            for (int j = first; j < first + count; ++j) {
                for (int d = 0; d < k.extent(3); ++d) cache.key(b, g, j)[d] = k(b, g, j, d);
                for (int d = 0; d < v.extent(3); ++d) cache.value(b, g, j)[d] = v(b, g, j, d);
            }
}

// The page table [B, 1] of keys and values that stand in one piece: sequence b has page b.
inline std::vector<int> own_pages(int B) {
    std::vector<int> table(static_cast<std::size_t>(B));
    std::iota(table.begin(), table.end(), 0);
    return table;
}

// The page table of B sequences of `pages` pages each. In a pool that is in use, a sequence's pages are anywhere: here
// they are dealt out from the last to the first, in turns.
inline std::vector<int> page_table(int B, int pages) {
    std::vector<int> table(static_cast<std::size_t>(B * pages));
    for (int b = 0; b < B; ++b)
        for (int p = 0; p < pages; ++p) table[static_cast<std::size_t>(b * pages + p)] = B * pages - 1 - (p * B + b);
    return table;
}

// ---- what it costs --------------------------------------------------------------------------------------------------

// Bytes that one position takes in one layer: G keys of D numbers and G values of Dv.
constexpr std::int64_t bytes_per_position(int G, int D, int Dv, int number_bytes) {
    return std::int64_t{G} * (D + Dv) * number_bytes;
}

// Bytes of the cache of `layers` layers and B sequences of n positions. Generating a token reads all of them once.
constexpr std::int64_t bytes(int layers, int B, int n, int G, int D, int Dv, int number_bytes) {
    return std::int64_t{layers} * B * n * bytes_per_position(G, D, Dv, number_bytes);
}

}  // namespace attn::kv_cache
