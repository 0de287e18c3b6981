// Wrong: the merge of the chapter (flash_attention_naive_forward.hpp), with the state that each split has left: m = its
// log-sum-exp, l = 1.
#include "chapters/05_flash_attention/exercises/merge_splits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::merge_splits {

// ---- your code ----

void merge_splits(const Inputs& in, const Options&, const Outputs& out) {
    constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
    auto reference_of = [](float maximum) { return maximum > minus_infinity ? maximum : 0; };
    for (int i = 0; i < in.part.extent(1); ++i) {
        float m = in.part_log_sum_exp(0, i), l = 1;
        for (int d = 0; d < in.part.extent(2); ++d) out.out(i, d) = in.part(0, i, d);

        // [19.4.5-7] merge
        for (int s = 1; s < in.part.extent(0); ++s) {
            const float maximum = std::max(m, in.part_log_sum_exp(s, i)), reference = reference_of(maximum);
            const float a_factor = std::exp(m - reference), b_factor = std::exp(in.part_log_sum_exp(s, i) - reference);
            m = maximum;
            l = a_factor * l + b_factor * 1;
            for (int d = 0; d < in.part.extent(2); ++d)
                out.out(i, d) = a_factor * out.out(i, d) + b_factor * in.part(s, i, d);
        }
        for (int d = 0; d < in.part.extent(2); ++d) out.out(i, d) /= l;
        out.log_sum_exp(i) = m + std::log(l);
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::merge_splits
