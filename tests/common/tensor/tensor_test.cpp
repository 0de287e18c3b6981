// Views, shape checks, random numbers and comparisons.
#include <limits>

#include "common/tensor/compare.hpp"
#include "common/tensor/random.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("a view is row-major, and slices are views") {
    auto tensor = make_tensor<int, 3>({2, 3, 4});
    TensorView<int, 3> all = view(tensor);
    for (int i = 0; i < 24; ++i) all.data()[i] = i;
    CHECK(all(1, 2, 3) == 23);
    CHECK(all(1, 0, 2) == 14);
    CHECK(tensor(1, 0, 2) == 14);
    TensorView<const int, 2> slice = all.slice(1);
    CHECK(slice.shape() == Shape<2>{{3, 4}});
    CHECK(slice(2, 1) == 21);
    CHECK(all.slice(1, 2)(3) == 23);
    CHECK(!TensorView<int, 2>{});
}

TEST_CASE("shape checks name the tensor, what was found and what was expected") {
    TensorView<const float, 2> k(nullptr, {3, 4});
    CHECK_NOTHROW(expect_shape("k", k, {{3, 4}}, "[N, D]"));
    CHECK_THROWS_WITH(expect_shape("k", k, {{3, 5}}, "[N, D]"), "k has shape [3, 4], expected [3, 5] = [N, D]");
}

TEST_CASE("random numbers are the same everywhere") {
    // Values of the documented formula, computed apart from this code (Python's unbounded integers).
    CHECK(random_bits(0, 0) == 0xa706dd2f4d197e6fu);
    CHECK(random_bits(1, 0) != random_bits(0, 1));
    double sum = 0, squares = 0, largest = 0;
    constexpr int count = 100000;
    for (int i = 0; i < count; ++i) {
        double x = random_normal(42, static_cast<std::uint64_t>(i)),
               u = random_uniform(42, static_cast<std::uint64_t>(i));
        REQUIRE((u >= 0 && u < 1));
        sum += x, squares += x * x, largest = std::max(largest, std::abs(x));
    }
    CHECK(std::abs(sum / count) < 0.01);
    CHECK(std::abs(squares / count - 1) < 0.01);
    CHECK(largest > 3.5);
    CHECK(largest <= 6);
    bool low = false, high = false;
    for (std::uint64_t i = 0; i < 200; ++i) {
        int value = random_integer(7, i, -2, 3);
        REQUIRE((value >= -2 && value <= 3));
        low |= value == -2, high |= value == 3;
    }
    CHECK((low && high));
}

namespace {
Array array_of(std::vector<double> values) {
    Array array = zeros(DType::float64, {static_cast<std::int64_t>(values.size())});
    std::copy(values.begin(), values.end(), array.data<double>());
    return array;
}
}  // namespace

TEST_CASE("comparisons are not fooled") {
    const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
    Array reference = array_of({1, 2, nan, inf, -4});
    CHECK(compare(reference, reference, 1e-10, 30).within);
    // Kills: a comparison that NaN passes because no difference is greater than the bound.
    Comparison all_nan = compare(array_of({nan, nan, nan, nan, nan}), reference, 1, 30);
    CHECK(!all_nan.within);
    CHECK(all_nan.misplaced == 4);
    CHECK(all_nan.first_wrong == 0);
    CHECK(!compare(array_of({1, 2, nan, -inf, -4}), reference, 1, 30).within);
    CHECK(!compare(array_of({1, 2, 3, inf, -4}), reference, 1, 30).within);
    // One element far off in many: within the norm's bound, not within the single element's.
    std::vector<double> many(100000, 1.0), off = many;
    off[77] += 0.002;
    Comparison single = compare(array_of(off), array_of(many), 2e-5, 30);
    CHECK(single.relative_error < 2e-5);
    CHECK(!single.within);
    CHECK(single.worst == 77);
    // A reference of zeros: the absolute error.
    CHECK(compare(array_of({0, 1e-11}), array_of({0, 0}), 1e-10, 30).within);
    CHECK(!compare(array_of({0, 1e-3}), array_of({0, 0}), 1e-10, 30).within);
    // Integers must be equal.
    Array integers = zeros(DType::int32, {2}), other = integers;
    other.data<std::int32_t>()[1] = 1;
    CHECK(compare(integers, integers, 2e-5, 30).within);
    CHECK(!compare(integers, other, 10, 30).within);
    CHECK_THROWS_AS(compare(array_of({1}), array_of({1, 2}), 1, 1), std::invalid_argument);
    CHECK(index_text({2, 3, 4}, 23) == "(1,2,3)");
}
