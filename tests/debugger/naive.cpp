// The program in which tags_test.sh stops at a step of the formula.
#include <cstdio>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"

int main() {
    auto q = attn::make_tensor<double, 4>({{1, 1, 3, 2}}, 1.0);
    auto k = q, v = q, out = q;
    auto log_sum_exp = attn::make_tensor<double, 3>({{1, 1, 3}});
    attn::dense::Inputs<double> inputs{
        attn::view(std::as_const(q)), attn::view(std::as_const(k)), attn::view(std::as_const(v)), {}};
    attn::dense::Outputs<double> outputs{attn::view(out), attn::view(log_sum_exp), {}, {}, {}};
    attn::dense::naive_forward(inputs, attn::dense::Options{true, 0.5}, outputs);
    std::printf("%g\n", out(0, 0, 2, 1));
}
