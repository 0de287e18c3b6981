// Which keys a query sees, a second time: as sets that are built row by row from the words of the papers, by other
// formulas than those of chapters/01_fixed_sparse/pattern.hpp. And the patterns that the tests are about, from a seed.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "chapters/01_fixed_sparse/bigbird/random_blocks.hpp"
#include "chapters/01_fixed_sparse/pattern.hpp"
#include "common/tensor/random.hpp"

namespace attn::fixed_sparse {

using Set = std::set<int>;

// "The last W positions, and the first s": counted down from the own position.
inline Set window_set(int queries, int keys, int window, int sinks, int i) {
    Set set;
    const int own = keys - (queries - i);
    for (int step = 0, j = own; step < window && j >= 0; ++step, --j) set.insert(j);
    for (int j = 0; j < sinks && j <= own; ++j) set.insert(j);
    return set;
}

// Child et al. 2019, section 4.2, with l keys in the local part and c columns in the summary.
inline Set sparse_transformer_set(Kind kind, int l, int c, Part part, int i) {
    Set first, second;
    if (kind == Kind::strided) {
        for (int j = i; j >= 0 && j > i - l; --j) first.insert(j);
        for (int j = i; j >= 0; j -= l) second.insert(j);
    } else {
        int block = 0;
        while ((block + 1) * l <= i) ++block;
        for (int j = block * l; j <= i; ++j) first.insert(j);
        for (int end = l; end - c <= i; end += l)  // the blocks that end at l, 2l …
            for (int j = end - c; j < end; ++j)
                if (j <= i) second.insert(j);
    }
    if (part == Part::first) return first;
    if (part == Part::second) return second;
    if (part == Part::rest) {
        for (int j : first) second.erase(j);
        return second;
    }
    first.merge(second);
    return first;
}

// Beltagy et al. 2020, section 3.1.
inline Set longformer_set(int n, int w, int dilation, const Set& global, bool causal, int i) {
    Set set;
    for (int t = 0; t <= w && std::int64_t{t} * dilation < n; ++t)
        set.insert(i - t * dilation), set.insert(i + t * dilation);
    set.insert(global.begin(), global.end());
    for (int j = 0; global.count(i) && j < n; ++j) set.insert(j);
    Set in_range;
    for (int j : set)
        if (j >= 0 && j < n && (!causal || j <= i)) in_range.insert(j);
    return in_range;
}

// Zaheer et al. 2020, section 2: blocks as a set of blocks.
inline Set bigbird_set(int n, int block, TensorView<const std::int64_t, 3> random, int h, int i) {
    const int nb = n / block, I = i / block;
    Set blocks{0, nb - 1, I - 1, I, I + 1};
    for (int t = 0; t < random.extent(2); ++t) blocks.insert(static_cast<int>(random(h, I, t)));
    for (int J = 0; (I == 0 || I == nb - 1) && J < nb; ++J) blocks.insert(J);
    Set set;
    for (int J : blocks)
        for (int j = J * block; J >= 0 && J < nb && j < (J + 1) * block; ++j) set.insert(j);
    return set;
}

}  // namespace attn::fixed_sparse
