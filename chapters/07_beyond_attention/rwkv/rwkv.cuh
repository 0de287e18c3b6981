// What both CUDA stages of RWKV use: the state of a channel, and what a token does to it.
#pragma once

#include "chapters/07_beyond_attention/rwkv/rwkv.hpp"
#include "common/cuda/build.hpp"

namespace attn::rwkv {
inline namespace ATTN_BUILD {

struct State {
    float numerator, denominator, exponent;
};
__device__ inline State empty_state() { return {0, 0, static_cast<float>(no_exponent)}; }

// [19.4.7-13]
__device__ inline float output(const State& state, float bonus, float k, float v) {
    const float own = bonus + k, larger = state.exponent < own ? own : state.exponent;
    const float past = expf(state.exponent - larger), present = expf(own - larger);
    return fmaf(present, v, past * state.numerator) / (past * state.denominator + present);
}

// `state`, after which so much has faded, and then `added`. [19.4.7-14]
__device__ inline State put_together(const State& state, float faded_by, const State& added) {
    const float faded = state.exponent - faded_by, next = faded < added.exponent ? added.exponent : faded;
    const float shrink = expf(faded - next), weight = expf(added.exponent - next);
    return {fmaf(weight, added.numerator, shrink * state.numerator),
            fmaf(weight, added.denominator, shrink * state.denominator), next};
}
__device__ inline State after_token(const State& state, float decay, float k, float v) {
    return put_together(state, decay, {v, 1, k});
}

}  // namespace ATTN_BUILD
}  // namespace attn::rwkv
