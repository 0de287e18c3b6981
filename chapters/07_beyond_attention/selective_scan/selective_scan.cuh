// What all CUDA stages of the selective scan use; and the last one for other kernels of the family.
#pragma once

#include "chapters/07_beyond_attention/selective_scan/selective_scan.hpp"
#include "common/cuda/layer.cuh"

namespace attn::selective_scan {
inline namespace ATTN_BUILD {

// [19.4.7-6]
__device__ inline float step_size(const Inputs<float>& in, const Options& options, float delta, float bias) {
    if (in.delta_bias) delta += bias;
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

// [19.4.7-10] What y becomes beside the token's u and its gate z.
__device__ inline float finished(const Inputs<float>& in, float y, float d, float u, float z) {
    if (in.d) y = fmaf(d, u, y);
    return in.z ? y * silu(z) : y;
}

// What a channel has of the optional inputs, 0 of those that are not there.
__device__ inline float bias_of(const Inputs<float>& in, int d) { return in.delta_bias ? in.delta_bias(d) : 0; }
__device__ inline float skip_of(const Inputs<float>& in, int d) { return in.d ? in.d(d) : 0; }
__device__ inline float gate_of(const Inputs<float>& in, int b, int d, int t) { return in.z ? in.z(b, d, t) : 0; }

// In device memory; last_state may be initial_state itself.
void scan_on_device(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

// Stage 2, for more numbers of state than the last stage can keep on chip.
void scan_chunks_on_device(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::selective_scan
