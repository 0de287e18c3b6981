// Every golden case, made by flash-linear-attention and PyTorch, through every implementation.
#include "tests/support/golden.hpp"

using namespace attn;

namespace {

long count(const std::vector<Case>& cases, auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); }
std::int64_t param(const Case& golden, const char* name) { return golden.params.integer(name, 1, 1 << 30); }

}  // namespace

TEST_CASE("native sparse: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("native_sparse");
    REQUIRE(cases.size() >= 35);
    const auto one_size = [](const Case& c) {
        return param(c, "compress_block") == param(c, "compress_stride") &&
               param(c, "compress_block") == param(c, "select_block");
    };
    CHECK(count(cases, one_size) >= 8);
    CHECK(count(cases, [&](const Case& c) {
              return one_size(c) && c.origin.find("naive_nsa_topk") != std::string::npos;
          }) >= 5);
    CHECK(count(cases, [](const Case& c) { return param(c, "compress_block") > param(c, "compress_stride"); }) >= 10);
    CHECK(count(cases, [](const Case& c) { return param(c, "select_block") > param(c, "compress_block"); }) >= 8);
    CHECK(count(cases, [](const Case& c) { return c.inputs.count("d_out") > 0; }) >= 4);
    CHECK(count(cases, [](const Case& c) { return c.inputs.count("compress_k_weight") > 0; }) >= 2);
    CHECK(count(cases, [](const Case& c) { return c.inputs.count("compress_k_up") > 0; }) >= 2);
}

TEST_CASE("native sparse: naive agrees with the libraries in every precision") {
    testing::check_naive_on_golden_cases("native_sparse");
}

TEST_CASE("native sparse: the kernels agree with the libraries") {
    testing::check_cuda_on_golden_cases("native_sparse", 2);
}

TEST_CASE("native sparse: costs by formula equal the counts on every golden case") {
    const Mechanism& mechanism = *find_mechanism("native_sparse");
    for (const Case& golden : testing::golden_cases("native_sparse")) {
        INFO(golden.folder);
        CHECK(mechanism.counted_costs(golden) == mechanism.predicted_costs(golden));
    }
}
