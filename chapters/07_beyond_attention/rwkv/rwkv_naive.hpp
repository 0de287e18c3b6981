// RWKV's weighted mean, naive: one channel at a time, one token after the other. Templated on the scalar; the state is
// kept in accumulator_t<T>.
//
// The tags name the steps; README.md and `attn trace rwkv` use the same.
#pragma once

#include <cmath>

#include "chapters/07_beyond_attention/rwkv/rwkv.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::rwkv {

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options&, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    using std::exp;
    check_shapes(in);
    const Sizes size = in.sizes();
    Tensor<Sum, 1> of_channel = make_tensor<Sum, 1>({{3}});
    const TensorView<Sum, 1> state = view(of_channel);
    Sum &numerator = state(0), &denominator = state(1), &exponent = state(2);
    for (int b = 0; b < size.B; ++b)
        for (int d = 0; d < size.D; ++d) {
            numerator = 0, denominator = 0, exponent = no_exponent;
            for (int t = 0; t < size.L; ++t) {
                const Sum k = static_cast<Sum>(in.key(b, t, d)), v = static_cast<Sum>(in.value(b, t, d));
                // [19.4.7-13] output: the past and the token itself, with its bonus, relative to the larger exponent
                const Sum own = in.time_first(d) + k;
                const Sum larger = exponent < own ? own : exponent;
                const Sum past = exp(exponent - larger), present = exp(own - larger);
                Sum sum = past * numerator, weights = past * denominator;
                sum += present * v;
                weights += present;
                out.out(b, t, d) = static_cast<T>(sum / weights);
                // [19.4.7-14] state: the past fades by w, the token is added without the bonus
                const Sum faded = exponent - in.time_decay(d);
                const Sum next = faded < k ? k : faded;
                const Sum shrink = exp(faded - next), weight = exp(k - next);
                numerator = shrink * numerator;
                numerator += weight * v;
                denominator = shrink * denominator;
                denominator += weight;
                exponent = next;
                watch("[19.4.7-14] numerator, denominator and exponent of the channel", state);
            }
            for (int i = 0; i < 3; ++i) out.state(b, i, d) = state(i);
        }
    watch("[19.4.7-13] out, a row for each position", out.out.slice(0));
}

}  // namespace attn::rwkv
