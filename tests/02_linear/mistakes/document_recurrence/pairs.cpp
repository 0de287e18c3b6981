// Wrong: each query goes through all the keys before it.
#include "chapters/02_linear/exercises/document_recurrence.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_recurrence {

// ---- your code ----

namespace {

float phi(float x) { return x > 0 ? x + 1 : std::exp(x); }

}  // namespace

void document_recurrence(const Inputs& in, const Options&, const Outputs& out) {
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            int begin = 0;
            for (int i = 0; i < N; ++i) {
                if (i > 0 && in.document(b, i) != in.document(b, i - 1)) begin = i;
                float denominator = 0;
                for (int e = 0; e < Dv; ++e) out.out(b, h, i, e) = 0;
                for (int j = begin; j <= i; ++j) {
                    float weight = 0;
                    for (int d = 0; d < D; ++d) weight += phi(in.q(b, h, i, d)) * phi(in.k(b, h, j, d));
                    denominator += weight;
                    for (int e = 0; e < Dv; ++e) out.out(b, h, i, e) += weight * in.v(b, h, j, e);
                }
                for (int e = 0; e < Dv; ++e) out.out(b, h, i, e) /= denominator;
            }
            for (int d = 0; d < D; ++d) {
                out.normalizer(b, h, d) = 0;
                for (int e = 0; e < Dv; ++e) out.state(b, h, d, e) = 0;
                for (int j = begin; j < N; ++j) {
                    const float feature = phi(in.k(b, h, j, d));
                    out.normalizer(b, h, d) += feature;
                    for (int e = 0; e < Dv; ++e) out.state(b, h, d, e) += feature * in.v(b, h, j, e);
                }
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::document_recurrence
