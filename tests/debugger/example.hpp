#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::test {

// out(r, c) = in(r, c) + in(r, 7 - c); rows of 8.
void add_mirrored(TensorView<const float, 2> in, TensorView<float, 2> out);

}  // namespace attn::test
