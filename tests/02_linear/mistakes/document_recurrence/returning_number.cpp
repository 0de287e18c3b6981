// Wrong: a number that returns goes on with its earlier document.
#include "chapters/02_linear/exercises/document_recurrence.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_recurrence {

// ---- your code ----

namespace {

struct Sums {
    std::vector<float> S, z;
};

float phi(float x) { return x > 0 ? x + 1 : std::exp(x); }

}  // namespace

void document_recurrence(const Inputs& in, const Options&, const Outputs& out) {
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    std::vector<float> numerator(static_cast<std::size_t>(Dv));
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            std::map<int, Sums> of_document;
            for (int i = 0; i < N; ++i) {
                Sums& sums = of_document[in.document(b, i)];
                if (sums.z.empty()) {
                    sums.S.resize(static_cast<std::size_t>(D * Dv));
                    sums.z.resize(static_cast<std::size_t>(D));
                }
                const TensorView<float, 2> S(sums.S.data(), {D, Dv});
                const TensorView<float, 1> z(sums.z.data(), {D});

                // The token's own key first: a query sees it.
                for (int d = 0; d < D; ++d) {
                    const float feature = phi(in.k(b, h, i, d));
                    z(d) += feature;
                    for (int e = 0; e < Dv; ++e) S(d, e) += feature * in.v(b, h, i, e);
                }

                float denominator = 0;
                std::fill(numerator.begin(), numerator.end(), 0.0f);
                for (int d = 0; d < D; ++d) {
                    const float feature = phi(in.q(b, h, i, d));
                    denominator += feature * z(d);
                    for (int e = 0; e < Dv; ++e) numerator[static_cast<std::size_t>(e)] += feature * S(d, e);
                }
                for (int e = 0; e < Dv; ++e) out.out(b, h, i, e) = numerator[static_cast<std::size_t>(e)] / denominator;
                if (i + 1 < N) continue;
                std::copy_n(S.data(), S.count(), out.state.slice(b, h).data());
                std::copy_n(z.data(), z.count(), out.normalizer.slice(b, h).data());
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::document_recurrence
