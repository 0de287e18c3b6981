// The stubs of chapter 00: each says that it is not implemented yet, and differs from its solution in the marked part
// only.
#include <fstream>
#include <iterator>
#include <string>

#include "common/exercise/not_implemented_yet.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/00_dense_attention/exercises_on_device.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;

// Tensors of the shape 1 × … × 1 for each input and output, and the call.
template <class Inputs, class Options, class Outputs>
std::string message_of_stub() {
    static float numbers[1] = {1};
    static int integers[1] = {1};
    auto one_element = []<class T, int N>(const char*, TensorView<T, N>& tensor) {
        Shape<N> shape;
        for (int& extent : shape.extent) extent = 1;
        if constexpr (std::is_same_v<std::remove_const_t<T>, int>)
            tensor = {integers, shape};
        else
            tensor = {numbers, shape};
    };
    Inputs inputs;
    Outputs outputs;
    inputs.visit(one_element);
    outputs.visit(one_element);
    try {
        exercises::run(inputs, Options{}, outputs);
    } catch (const NotImplementedYet& not_yet) {
        return not_yet.what();
    }
    return "it returned";
}

#define CHECK_STUB(name)                                                                                          \
    CHECK(message_of_stub<exercises::name::Inputs, exercises::name::Options, exercises::name::Outputs>() == #name \
          " is not implemented yet")

// Kills: a stub that returns, that names another exercise, or that throws something else.
TEST_CASE("each stub says that it is not implemented yet", "[stubs]") {
    CHECK_STUB(row_maximum);
    CHECK_STUB(warp_reduction);
    CHECK_STUB(tile_transpose);
    CHECK_STUB(masked_softmax);
    CHECK_STUB(scores_kernel);
}

struct Parts {
    std::string before, marked, after;
};

Parts parts_of(const std::string& path) {
    INFO(path);
    std::ifstream file(std::string(ATTN_SOURCE_FOLDER) + "/" + path);
    REQUIRE(file);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::string begin = "\n// ---- your code ----\n", end = "\n// ---- end of your code ----\n";
    const std::size_t first = text.find(begin), last = text.find(end);
    REQUIRE(first != std::string::npos);
    REQUIRE(last != std::string::npos);
    REQUIRE(first < last);
    CHECK(text.find(begin, first + 1) == std::string::npos);  // once each
    CHECK(text.find(end, last + 1) == std::string::npos);
    return {text.substr(0, first), text.substr(first, last - first), text.substr(last)};
}

// Kills: a docstring, an include or a namespace changed in one of the two; a solution where the stub should be.
TEST_CASE("stub and solution are equal outside the marked part", "[stubs]") {
    for (const char* name :
         {"row_maximum.cu", "warp_reduction.cu", "tile_transpose.cu", "masked_softmax.cpp", "scores_kernel.cu"}) {
        INFO(name);
        const Parts stub = parts_of(std::string("chapters/00_dense_attention/exercises/") + name);
        const Parts solution = parts_of(std::string("solutions/00_dense_attention/") + name);
        CHECK(stub.before == solution.before);
        CHECK(stub.after == solution.after);
        CHECK(stub.marked.find("throw NotImplementedYet(") != std::string::npos);
        CHECK(solution.marked.find("NotImplementedYet") == std::string::npos);
    }
}

}  // namespace
