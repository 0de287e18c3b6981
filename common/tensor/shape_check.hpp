// Shape checks that stay on in release builds. They throw ShapeError, whose one line names the tensor, what was found
// and what was expected.
#pragma once

#include <stdexcept>
#include <string>

#include "common/tensor/tensor_view.hpp"

namespace attn {

struct ShapeError : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

template <int N>
std::string text(const Shape<N>& shape) {
    std::string result = "[";
    for (int dimension = 0; dimension < N; ++dimension)
        result += (dimension ? ", " : "") + std::to_string(shape[dimension]);
    return result + "]";
}

// `meaning` explains the expected shape in the field's letters, for example "[B, G, Nk, D]".
template <class T, int N>
void expect_shape(const char* name, const TensorView<T, N>& tensor, const Shape<N>& expected, const char* meaning) {
    if (!(tensor.shape() == expected))
        throw ShapeError(std::string(name) + " has shape " + text(tensor.shape()) + ", expected " + text(expected) +
                         " = " + meaning);
}

}  // namespace attn
