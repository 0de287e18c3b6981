// The program that debugger_test.sh runs in gdb.
#include <cstdio>

#include "common/tensor/half.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/debugger/example.hpp"

namespace {

void finished(const attn::Tensor<float, 2>& result, const attn::Tensor<attn::float16, 1>& halves) {
    std::printf("%g %g\n", static_cast<double>(result(1, 5)), static_cast<double>(halves(1)));  // stop here
}

}  // namespace

int main() {
    auto in = attn::make_tensor<float, 2>({{3, 8}});
    auto out = attn::make_tensor<float, 2>({{3, 8}});
    for (std::size_t row = 0; row < 3; ++row)
        for (std::size_t column = 0; column < 8; ++column) in(row, column) = static_cast<float>(10 * row + column);
    attn::test::add_mirrored(attn::view(std::as_const(in)), attn::view(out));
    auto halves = attn::make_tensor<attn::float16, 1>({{10}}, attn::float16(0.5f));
    finished(out, halves);
}
