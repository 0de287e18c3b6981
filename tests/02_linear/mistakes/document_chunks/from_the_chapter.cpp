// Wrong: the chunks of the chapter, for which all tokens are one document.
#include "chapters/02_linear/exercises/document_chunks.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_chunks {

// ---- your code ----

namespace {

float feature_map(float x) { return x > 0 ? x + 1 : std::exp(x); }

void naive_chunked(const Inputs& in, int chunk, const Outputs& out) {
    const int N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    for (int b = 0; b < in.q.extent(0); ++b)
        for (int h = 0; h < in.q.extent(1); ++h) {
            std::vector<float> S(static_cast<std::size_t>(D * Dv)), z(static_cast<std::size_t>(D));
            std::vector<float> numerator(static_cast<std::size_t>(Dv));
            for (int first = 0; first < N; first += chunk) {
                const int end = std::min(N, first + chunk);
                std::copy(S.begin(), S.end(), out.states.slice(b, h, first / chunk).data());
                std::copy(z.begin(), z.end(), out.normalizers.slice(b, h, first / chunk).data());
                for (int i = first; i < end; ++i) {
                    // from before the chunk
                    float denominator = 0;
                    std::fill(numerator.begin(), numerator.end(), 0.0f);
                    for (int d = 0; d < D; ++d) {
                        const float query = feature_map(in.q(b, h, i, d));
                        denominator += query * z[static_cast<std::size_t>(d)];
                        for (int e = 0; e < Dv; ++e)
                            numerator[static_cast<std::size_t>(e)] += query * S[static_cast<std::size_t>(d * Dv + e)];
                    }
                    // within the chunk
                    for (int j = first; j <= i; ++j) {
                        float weight = 0;
                        for (int d = 0; d < D; ++d)
                            weight += feature_map(in.q(b, h, i, d)) * feature_map(in.k(b, h, j, d));
                        denominator += weight;
                        for (int e = 0; e < Dv; ++e)
                            numerator[static_cast<std::size_t>(e)] += weight * in.v(b, h, j, e);
                    }
                    for (int e = 0; e < Dv; ++e)
                        out.out(b, h, i, e) = numerator[static_cast<std::size_t>(e)] / denominator;
                }
                for (int j = first; j < end; ++j)
                    for (int d = 0; d < D; ++d) {
                        const float key = feature_map(in.k(b, h, j, d));
                        z[static_cast<std::size_t>(d)] += key;
                        for (int e = 0; e < Dv; ++e) S[static_cast<std::size_t>(d * Dv + e)] += key * in.v(b, h, j, e);
                    }
            }
            std::copy(S.begin(), S.end(), out.state.slice(b, h).data());
            std::copy(z.begin(), z.end(), out.normalizer.slice(b, h).data());
        }
}

}  // namespace

void document_chunks(const Inputs& in, const Options& options, const Outputs& out) {
    naive_chunked(in, options.chunk, out);
}

// ---- end of your code ----

}  // namespace attn::exercises::document_chunks
