// Every golden case of the four mechanisms, made by PyTorch and transformers, through every implementation.
#include "tests/support/golden.hpp"

using namespace attn;

namespace {

bool has(const Case& golden, const char* tensor) { return golden.inputs.count(tensor) > 0; }

// Cases whose params hold this text.
long with(const std::vector<Case>& cases, const std::string& text) {
    return std::count_if(cases.begin(), cases.end(),
                         [&](const Case& golden) { return golden.params.json().find(text) != std::string::npos; });
}
long from(const std::vector<Case>& cases, const std::string& library) {
    return std::count_if(cases.begin(), cases.end(),
                         [&](const Case& golden) { return golden.origin.find(library) != std::string::npos; });
}

constexpr const char* mechanisms_here[] = {"sliding_window", "longformer", "bigbird", "sparse_transformer"};

}  // namespace

TEST_CASE("fixed sparse: there are golden cases of each kind") {
    const std::vector<Case> window = testing::golden_cases("sliding_window");
    CHECK(window.size() >= 30);
    CHECK(with(window, "sinks") >= 5);
    CHECK(std::count_if(window.begin(), window.end(), [](const Case& c) { return has(c, "d_out"); }) >= 5);
    const std::vector<Case> longformer = testing::golden_cases("longformer");
    CHECK(longformer.size() >= 30);
    CHECK(with(longformer, "dilation") >= 3);
    CHECK(with(longformer, "\"causal\":true") + with(longformer, "\"causal\": true") >= 3);
    CHECK(std::count_if(longformer.begin(), longformer.end(), [](const Case& c) { return has(c, "k_global"); }) >= 5);
    CHECK(from(longformer, "LongformerSelfAttention") >= 5);
    const std::vector<Case> bigbird = testing::golden_cases("bigbird");
    CHECK(bigbird.size() >= 20);
    CHECK(from(bigbird, "BigBirdBlockSparseAttention") >= 1);
    const std::vector<Case> sparse = testing::golden_cases("sparse_transformer");
    CHECK(sparse.size() >= 30);
    CHECK(with(sparse, "fixed") >= 10);
    CHECK(with(sparse, "strided") >= 10);
}

TEST_CASE("fixed sparse: naive agrees with the libraries in every precision") {
    for (const char* mechanism : mechanisms_here) testing::check_naive_on_golden_cases(mechanism);
}

TEST_CASE("fixed sparse: the kernels agree with the libraries") {
    testing::check_cuda_on_golden_cases("sliding_window", 3);
    testing::check_cuda_on_golden_cases("longformer", 2);
    testing::check_cuda_on_golden_cases("bigbird", 2);
    testing::check_cuda_on_golden_cases("sparse_transformer", 3);
}

TEST_CASE("fixed sparse: costs by formula equal the counts on every golden case") {
    for (const char* name : mechanisms_here) {
        const Mechanism& mechanism = *find_mechanism(name);
        for (const Case& golden : testing::golden_cases(name)) {
            INFO(golden.folder);
            CHECK(mechanism.counted_costs(golden) == mechanism.predicted_costs(golden));
        }
    }
}
