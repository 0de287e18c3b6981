// Wrong: the recurrence of the chapter, for which all tokens are one document.
#include "chapters/02_linear/exercises/document_recurrence.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_recurrence {

// ---- your code ----

namespace {

float feature_map(float x) { return x > 0 ? x + 1 : std::exp(x); }

void naive_recurrent(const Inputs& in, const Outputs& out) {
    const int N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    for (int b = 0; b < in.q.extent(0); ++b)
        for (int h = 0; h < in.q.extent(1); ++h) {
            std::vector<float> S(static_cast<std::size_t>(D * Dv)), z(static_cast<std::size_t>(D));
            for (int i = 0; i < N; ++i) {
                for (int d = 0; d < D; ++d) {
                    const float key = feature_map(in.k(b, h, i, d));
                    z[static_cast<std::size_t>(d)] += key;
                    for (int e = 0; e < Dv; ++e) S[static_cast<std::size_t>(d * Dv + e)] += key * in.v(b, h, i, e);
                }
                float denominator = 0;
                for (int d = 0; d < D; ++d)
                    denominator += feature_map(in.q(b, h, i, d)) * z[static_cast<std::size_t>(d)];
                for (int e = 0; e < Dv; ++e) {
                    float numerator = 0;
                    for (int d = 0; d < D; ++d)
                        numerator += feature_map(in.q(b, h, i, d)) * S[static_cast<std::size_t>(d * Dv + e)];
                    out.out(b, h, i, e) = numerator / denominator;
                }
            }
            std::copy(S.begin(), S.end(), out.state.slice(b, h).data());
            std::copy(z.begin(), z.end(), out.normalizer.slice(b, h).data());
        }
}

}  // namespace

void document_recurrence(const Inputs& in, const Options&, const Outputs& out) { naive_recurrent(in, out); }

// ---- end of your code ----

}  // namespace attn::exercises::document_recurrence
