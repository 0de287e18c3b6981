// What both CUDA stages of the selective scan use.
#pragma once

#include "chapters/07_beyond_attention/selective_scan/selective_scan.hpp"
#include "common/cuda/build.hpp"

namespace attn::selective_scan {
inline namespace ATTN_BUILD {

// [19.4.7-6]
__device__ inline float step_size(const Inputs<float>& in, const Options& options, int b, int d, int t) {
    const float delta = in.delta(b, d, t) + (in.delta_bias ? in.delta_bias(d) : 0);
    if (!options.delta_softplus) return delta;
    return (0 < delta ? delta : 0) + log1pf(expf(0 < delta ? -delta : delta));
}

// One step of one number of the state, as a pair: h becomes fades · h + enters. Put together they are again one.
struct Pair {
    float fades = 1, enters = 0;  // the step that changes nothing
};
__device__ inline Pair put_together(Pair first, Pair then) {
    return {then.fades * first.fades, fmaf(then.fades, first.enters, then.enters)};
}

// [19.4.7-7]
__device__ inline Pair step_of(const Options& options, float delta, float a, float b, float u) {
    const float x = delta * a;
    float enters = delta * b;
    if (options.discretization == Discretization::zoh && x != 0) enters *= expm1f(x) / x;
    return {expf(x), enters * u};
}

// [19.4.7-10]
__device__ inline float finished(const Inputs<float>& in, int b, int d, int t, float y) {
    if (in.d) y = fmaf(in.d(d), in.u(b, d, t), y);
    if (!in.z) return y;
    const float z = in.z(b, d, t);
    return y * (z / (1 + expf(-z)));
}

}  // namespace ATTN_BUILD
}  // namespace attn::selective_scan
