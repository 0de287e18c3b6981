// "Did you mean ...?": the candidate that a misspelt word most likely stood for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace attn {

/// The fewest insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
inline std::size_t edit_distance(std::string_view from, std::string_view to) {
    const std::size_t columns = to.size() + 1;
    std::vector<std::size_t> before_previous(columns), previous(columns), current(columns);
    for (std::size_t j = 0; j < columns; ++j) previous[j] = j;
    for (std::size_t i = 1; i <= from.size(); ++i) {
        current[0] = i;
        for (std::size_t j = 1; j < columns; ++j) {
            const std::size_t replaced = previous[j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
            current[j] = std::min({replaced, previous[j] + 1, current[j - 1] + 1});
            const bool swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if (swapped) current[j] = std::min(current[j], before_previous[j - 2] + 1);
        }
        before_previous.swap(previous);
        previous.swap(current);
    }
    return previous[to.size()];
}

/// The candidate nearest to `word`, the first of several equally near; empty when none is near enough to be a
/// misspelling: more than a third of the letters (but at least one) would have to change, or all of them.
inline std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    const std::size_t limit = std::max<std::size_t>(1, word.size() / 3);
    std::size_t best = limit + 1;
    std::string result;
    for (const std::string& candidate : candidates) {
        const auto [shorter, longer] = std::minmax({word.size(), candidate.size()});
        if (longer - shorter > limit) continue;  // also keeps a very long word from costing anything
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best && distance < longer) {
            best = distance;
            result = candidate;
        }
    }
    return result;
}

/// ", did you mean "causal"?" for the end of a message, or nothing.
inline std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
    const std::string near = nearest(word, candidates);
    return near.empty() ? "" : ", did you mean \"" + near + "\"?";
}

}  // namespace attn
