// Wrong: each token goes back through all tokens of its document.
#include "chapters/07_beyond_attention/exercises/scan_with_resets.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scan_with_resets {

// ---- your code ----

namespace {

float softplus(float x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

// What the tokens of the document up to t have left in number s of the state.
float state_after(const Inputs& in, int b, int d, int s, int t) {
    float sum = 0, faded = 0;
    for (int j = t; j >= 0; --j) {
        const float delta = softplus(in.delta(b, d, j));
        sum += std::exp(in.a(d, s) * faded) * delta * in.b(b, s, j) * in.u(b, d, j);
        if (in.position(b, j) == 0) return sum;
        faded += delta;
    }
    return in.initial ? sum + std::exp(in.a(d, s) * faded) * in.initial(b, d, s) : sum;
}

}  // namespace

void scan_with_resets(const Inputs& in, const Options&, const Outputs& out) {
    const int B = in.u.extent(0), D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    for (int b = 0; b < B; ++b)
        for (int d = 0; d < D; ++d) {
            for (int t = 0; t < L; ++t) {
                float y = in.d(d) * in.u(b, d, t);
                for (int s = 0; s < S; ++s) y += in.c(b, s, t) * state_after(in, b, d, s, t);
                out.out(b, d, t) = y;
            }
            for (int s = 0; s < S; ++s) out.last(b, d, s) = state_after(in, b, d, s, L - 1);
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::scan_with_resets
