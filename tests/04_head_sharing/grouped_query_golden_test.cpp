// Every golden case, made by transformers' Llama attention and PyTorch, through every implementation.
#include "tests/support/golden.hpp"

using namespace attn;

TEST_CASE("there are golden cases of each kind") {
    std::vector<Case> cases = testing::golden_cases("grouped_query");
    REQUIRE(cases.size() >= 30);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    CHECK(count([](const Case& c) { return c.inputs.count("d_out") > 0; }) >= 5);
    CHECK(count([](const Case& c) { return c.params.has("prefill") && !c.params.has("page"); }) >= 5);
    CHECK(count([](const Case& c) { return c.params.has("page"); }) >= 5);
    CHECK(count([](const Case& c) { return c.inputs.at("k").shape[1] > 1; }) >= 10);
    CHECK(testing::golden_cases("multi_query").size() >= 8);
}

TEST_CASE("naive agrees with transformers and PyTorch in every precision") {
    testing::check_naive_on_golden_cases("grouped_query");
    testing::check_naive_on_golden_cases("multi_query");
}

TEST_CASE("the kernels agree with transformers and PyTorch") {
    testing::check_cuda_on_golden_cases("grouped_query", 1);
    testing::check_cuda_on_golden_cases("multi_query", 1);
}
