// Every golden case of latent attention, made by transformers, through every implementation.
#include "tests/support/golden.hpp"

using namespace attn;

TEST_CASE("there are golden cases of each kind") {
    std::vector<Case> cases = testing::golden_cases("latent");
    REQUIRE(cases.size() >= 30);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    for (const char* form : {"expanded", "absorbed"})
        CHECK(count([&](const Case& c) { return c.params.choice("form", {"expanded", "absorbed"}, "") == form; }) >= 8);
    CHECK(count([](const Case& c) { return c.inputs.count("w_q") > 0; }) >= 5);
    CHECK(count([](const Case& c) { return c.params.has("prefill"); }) >= 5);
    for (const Case& golden : cases) CHECK(golden.expected.size() == 2);  // out and cache
}

TEST_CASE("naive agrees with transformers in every precision") { testing::check_naive_on_golden_cases("latent"); }

TEST_CASE("the kernels agree with transformers") { testing::check_cuda_on_golden_cases("latent", 1); }

TEST_CASE("costs by formula equal the counts on every golden case") {
    // Kills: a term of one form in the other, a norm or a rotation left out, steps of the prefill not counted.
    const Mechanism& latent = *find_mechanism("latent");
    for (const Case& golden : testing::golden_cases("latent")) {
        INFO(golden.folder);
        CHECK(latent.counted_costs(golden) == latent.predicted_costs(golden));
    }
}
