// The golden cases of this chapter's mechanisms, through their implementations.
#include "tests/support/golden.hpp"
#include <fmt/format.h>
#include "tests/support/refusal.hpp"

#include "common/mechanism/mechanism.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

template <class IsKind>
auto count_of(const std::vector<Case>& cases, IsKind is_kind) {
    return std::count_if(cases.begin(), cases.end(), is_kind);
}
std::int64_t extent(const Case& c, const char* tensor, int dimension) {
    return c.inputs.at(tensor).shape[static_cast<std::size_t>(dimension)];
}
bool is_causal(const Case& c) { return c.params.boolean("causal", false); }

}  // namespace

TEST_CASE("linear: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("linear_attention");
    REQUIRE(cases.size() >= 40);
    CHECK(count_of(cases, is_causal) >= 15);
    CHECK(count_of(cases, [](const Case& c) { return !is_causal(c); }) >= 12);
    CHECK(count_of(cases, [](const Case& c) { return c.inputs.count("d_out") > 0; }) >= 15);
    CHECK(count_of(cases, [](const Case& c) { return !c.params.boolean("normalize", true); }) >= 4);
    CHECK(count_of(cases, [](const Case& c) { return extent(c, "q", 2) != extent(c, "k", 2); }) >= 3);
    CHECK(count_of(cases, [](const Case& c) { return extent(c, "k", 2) > 64; }) >= 3);
}

TEST_CASE("linear: naive agrees with flash-linear-attention in every precision") {
    testing::check_naive_on_golden_cases("linear_attention");
}

TEST_CASE("linear: every form agrees with flash-linear-attention") {
    const Mechanism& mechanism = *find_mechanism("linear_attention");
    for (const char* form : {R"("chunked", "chunk": 5)", R"("chunked", "chunk": 32)", R"("quadratic")"})
        for (Case golden : testing::golden_cases("linear_attention")) {
            const Params& given = golden.params;
            golden.params = Params::parse(
                fmt::format(R"({{"feature_map": "{}", "causal": {}, "normalize": {}, "epsilon": {}, "form": {}}})",
                            given.choice("feature_map", {"elu_plus_one", "identity"}, "elu_plus_one"),
                            is_causal(golden), given.boolean("normalize", true), given.number("epsilon").value_or(0),
                            form),
                "golden");
            INFO(form);
            testing::check_outputs(golden, mechanism.run_naive(golden, Precision::float64), 1e-10, 30);
        }
}

TEST_CASE("linear: both CUDA stages agree with flash-linear-attention") {
    testing::check_cuda_on_golden_cases("linear_attention", 2);
}

TEST_CASE("linear: the CUDA versions refuse a backward pass, by name") {
    const Mechanism& mechanism = *find_mechanism("linear_attention");
    for (const Case& golden : testing::golden_cases("linear_attention")) {
        const std::string message = testing::refusal([&] { mechanism.check_cuda(golden); });
        INFO(golden.folder);
        if (golden.inputs.count("d_out"))
            testing::check_message(message, (golden.folder / "d_out.npy").string(),
                                   {"no backward pass", "--impl naive"});
        else
            CHECK(message == "(not refused)");
    }
}

TEST_CASE("performer: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("performer");
    REQUIRE(cases.size() >= 20);
    CHECK(count_of(cases, is_causal) >= 8);
    CHECK(count_of(cases, [](const Case& c) { return extent(c, "features", 0) > 64; }) >= 2);
    CHECK(count_of(cases, [](const Case& c) { return extent(c, "features", 0) < extent(c, "features", 1); }) >= 2);
    CHECK(count_of(cases, [](const Case& c) { return extent(c, "k", 2) > 64; }) >= 2);
}

TEST_CASE("performer: naive agrees with performer-pytorch in every precision") {
    testing::check_naive_on_golden_cases("performer");
}

TEST_CASE("performer: the CUDA version agrees with performer-pytorch") {
    testing::check_cuda_on_golden_cases("performer", 1);
}

TEST_CASE("linear, performer: costs by formula equal the counts on every golden case") {
    for (const char* name : {"linear_attention", "performer"})
        for (const Case& golden : testing::golden_cases(name)) {
            INFO(golden.folder);
            CHECK(find_mechanism(name)->counted_costs(golden) == find_mechanism(name)->predicted_costs(golden));
        }
}
