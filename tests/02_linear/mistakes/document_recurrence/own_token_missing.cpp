// Wrong: the state is updated after it is used.
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
    std::vector<float> numerator(static_cast<std::size_t>(Dv));
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            // The outputs are the state: after the last token nothing is left to do.
            const TensorView<float, 2> S = out.state.slice(b, h);
            const TensorView<float, 1> z = out.normalizer.slice(b, h);
            for (int i = 0; i < N; ++i) {
                if (i == 0 || in.document(b, i) != in.document(b, i - 1)) {
                    // Set, not multiplied by 0: the last document may have left NaN.
                    std::fill_n(S.data(), S.count(), 0.0f);
                    std::fill_n(z.data(), z.count(), 0.0f);
                }

                float denominator = 0;
                std::fill(numerator.begin(), numerator.end(), 0.0f);
                for (int d = 0; d < D; ++d) {
                    const float feature = phi(in.q(b, h, i, d));
                    denominator += feature * z(d);
                    for (int e = 0; e < Dv; ++e) numerator[static_cast<std::size_t>(e)] += feature * S(d, e);
                }
                for (int e = 0; e < Dv; ++e) out.out(b, h, i, e) = numerator[static_cast<std::size_t>(e)] / denominator;

                for (int d = 0; d < D; ++d) {
                    const float feature = phi(in.k(b, h, i, d));
                    z(d) += feature;
                    for (int e = 0; e < Dv; ++e) S(d, e) += feature * in.v(b, h, i, e);
                }
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::document_recurrence
