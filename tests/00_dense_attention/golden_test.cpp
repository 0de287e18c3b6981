// Every golden case, made by PyTorch, through every implementation.
#include "tests/support/golden.hpp"

using namespace attn;

TEST_CASE("there are golden cases of each kind") {
    std::vector<Case> cases = testing::golden_cases("dense");
    REQUIRE(cases.size() >= 20);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    CHECK(count([](const Case& c) { return c.inputs.count("d_out") > 0; }) >= 5);
    CHECK(count([](const Case& c) { return c.params.boolean("causal", false); }) >= 5);
    CHECK(count([](const Case& c) { return c.inputs.at("k").shape[1] < c.inputs.at("q").shape[1]; }) >= 3);
}

TEST_CASE("naive agrees with PyTorch in every precision") { testing::check_naive_on_golden_cases("dense"); }

TEST_CASE("every CUDA stage agrees with PyTorch") { testing::check_cuda_on_golden_cases("dense", 2); }
