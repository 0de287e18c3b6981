// Every golden case of Linformer, made by the package linformer, through every implementation.
#include "tests/support/golden.hpp"

using namespace attn;

TEST_CASE("linformer: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("linformer");
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    auto extent = [](const Case& c, const char* tensor, int dimension) { return c.inputs.at(tensor).shape[dimension]; };
    auto is_shared = [](const Case& c) { return c.inputs.at("key_projection").shape.size() == 2; };
    REQUIRE(cases.size() >= 25);
    CHECK(count(is_shared) >= 15);
    CHECK(count([&](const Case& c) { return !is_shared(c) && extent(c, "q", 1) > 1; }) >= 5);
    CHECK(count([&](const Case& c) { return extent(c, "q", 2) != extent(c, "k", 2); }) >= 10);
    CHECK(count([&](const Case& c) { return extent(c, "k", 2) > 32; }) >= 3);  // more than a strip
    CHECK(count([&](const Case& c) { return extent(c, "key_projection", is_shared(c) ? 0 : 1) > extent(c, "k", 2); }) >=
          3);
}

TEST_CASE("linformer: naive agrees with the package in every precision") {
    testing::check_naive_on_golden_cases("linformer");
}

TEST_CASE("linformer: the kernels agree with the package") { testing::check_cuda_on_golden_cases("linformer", 1); }

TEST_CASE("linformer: costs by formula equal the counts on every golden case") {
    const Mechanism& linformer = *find_mechanism("linformer");
    for (const Case& golden : testing::golden_cases("linformer")) {
        INFO(golden.folder);
        CHECK(linformer.counted_costs(golden) == linformer.predicted_costs(golden));
    }
}
