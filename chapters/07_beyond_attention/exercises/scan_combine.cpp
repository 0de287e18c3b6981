// Exercise scan_combine: the operator of a parallel scan that begins anew with each document.
//
//     h becomes fades · h + enters        a step; where a document begins, h becomes enters
//
// C++, about 25 minutes, medium. Builds on: scan_with_resets; the pairs of chapter 07, which two steps are put together
// to, and which know no documents. A scan whose operator is associative may group its steps as it likes: by halves, by
// doubling, by warps and chunks (Blelloch 1990, "Prefix sums and their applications", sections 1.4 and 1.5). In
// scan_chunks_kernel a GPU does.
//
// What to write: a Step, which is what one step does to h, or several of them one after the other; and
//     step        one step
//     identity    the Step that does nothing, on either side of any other
//     combine     two of them as one. It does not know what came before, nor what will come
//     apply       what h becomes
//   The function below them puts steps together in the order that it is given, and asks what each combination makes of
//   a state.
//
// Mind:
//   - combine(combine(x, y), z) and combine(x, combine(y, z)) must do the same; combine(y, x) may do something else.
//   - A Step of several steps may have documents begin in it. What does it do to an h from before, and what must a Step
//     that is put before it, or behind it, know of that?
//   - What came before a document must not be seen in it, be it NaN or infinite: 0 · NaN is NaN.
//   - Hundreds of steps may each fade by exp(-2): their product is 0 in float, and nothing can be divided by it. fades
//     may also be 0, or negative.
#include "chapters/07_beyond_attention/exercises/scan_combine.hpp"

#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scan_combine {

namespace {

// ---- your code ----

struct Step {
    float fades = 1, enters = 0;  // TODO: is that enough?
};

Step step(float fades, float enters, bool begins) {
    (void)fades, (void)enters, (void)begins;
    throw NotImplementedYet("scan_combine");  // TODO
}

Step identity() {
    throw NotImplementedYet("scan_combine");  // TODO
}

Step combine(const Step& first, const Step& then) {
    (void)first, (void)then;
    throw NotImplementedYet("scan_combine");  // TODO
}

float apply(const Step& step, float before) {
    (void)step, (void)before;
    throw NotImplementedYet("scan_combine");  // TODO
}

// ---- end of your code ----

}  // namespace

void scan_combine(const Inputs& in, const Options&, const Outputs& out) {
    const int N = in.fades.extent(0), L = in.fades.extent(1), P = in.first.extent(0);
    std::vector<Step> all(static_cast<std::size_t>(L + 1 + P));
    const auto at = [&](int which) -> Step& { return all[static_cast<std::size_t>(which)]; };
    for (int n = 0; n < N; ++n) {
        for (int t = 0; t < L; ++t) at(t) = step(in.fades(n, t), in.enters(n, t), in.begins(n, t) != 0);
        at(L) = identity();
        for (int p = 0; p < P; ++p) at(L + 1 + p) = combine(at(in.first(p)), at(in.then(p)));
        for (int which = 0; which < L + 1 + P; ++which) out.after(n, which) = apply(at(which), in.before(n));
    }
}

}  // namespace attn::exercises::scan_combine
