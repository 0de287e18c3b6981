// The judge of `doubled`. The exercise in attacks.cpp does what ATTACK says in the second test only.
#include "tests/judge/example/doubled.hpp"
#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::doubled;

judge::Answer answer(const Inputs& in, const Options&, std::string_view) {
    auto y = make_tensor<double, 1>({in.x.extent(0)});
    for (int i = 0; i < in.x.extent(0); ++i) y(i) = 2. * in.x(i);
    judge::Answer result;
    result.add("y", y);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {"doubled", &answer, {}, false};

void test_size(int size) {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        auto x = make_tensor<float, 1>({size});
        fill_normal(view(x), test.seed(static_cast<std::uint64_t>(which)));
        test.run(exercise, Inputs{view(x)}, {});
    }
    test.conclude();
}

TEST_CASE("doubled: before", "[doubled]") { test_size(3); }
TEST_CASE("doubled: attacked", "[doubled]") { test_size(13); }
TEST_CASE("doubled: after", "[doubled]") { test_size(5); }

}  // namespace
