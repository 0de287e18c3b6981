// Every golden case, made by PyTorch, through every implementation.
#include <algorithm>
#include <filesystem>

#include "common/mechanism/mechanism.hpp"
#include "common/tensor/compare.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

std::vector<Case> golden_cases() {
    std::vector<std::filesystem::path> folders;
    for (const auto& entry : std::filesystem::directory_iterator(ATTN_SOURCE_FOLDER "/tests/golden/dense"))
        if (entry.is_directory()) folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    std::vector<Case> cases;
    for (const auto& folder : folders) cases.push_back(read_case(folder));
    return cases;
}

void check_outputs(const Case& golden, const NamedArrays& outputs, double bound, double element_factor) {
    for (const auto& [name, reference] : golden.expected) {
        Comparison comparison = compare(outputs.at(name), reference, bound, element_factor);
        INFO(golden.folder << " " << name << ": relative error " << comparison.relative_error << ", wrong "
                           << comparison.wrong << ", first " << index_text(reference.shape, comparison.first_wrong));
        CHECK(comparison.within);
    }
}

}  // namespace

TEST_CASE("there are golden cases of each kind") {
    std::vector<Case> cases = golden_cases();
    REQUIRE(cases.size() >= 20);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    CHECK(count([](const Case& c) { return c.inputs.count("d_out") > 0; }) >= 5);
    CHECK(count([](const Case& c) { return c.params.boolean("causal", false); }) >= 5);
    CHECK(count([](const Case& c) { return c.inputs.at("k").shape[1] < c.inputs.at("q").shape[1]; }) >= 3);
}

TEST_CASE("naive agrees with PyTorch in every precision") {
    const Mechanism& dense = *find_mechanism("dense");
    for (const Case& golden : golden_cases()) {
        dense.check(golden);
        check_outputs(golden, dense.run_naive(golden, Precision::float64), 1e-10, 30);
        check_outputs(golden, dense.run_naive(golden, Precision::float32), 2e-5, 30);
        check_outputs(golden, dense.run_naive(golden, Precision::float16), 2e-2, 5);
        check_outputs(golden, dense.run_naive(golden, Precision::bfloat16), 2e-2, 5);
    }
}

TEST_CASE("every CUDA stage agrees with PyTorch") {
    const Mechanism& dense = *find_mechanism("dense");
    std::vector<CudaVersion> versions = cuda_versions("dense", ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == 2);
    for (const CudaVersion& version : versions)
        for (const Case& golden : golden_cases()) {
            INFO(version.name);
            check_outputs(golden, dense.run_cuda(golden, version), 2e-5, 30);
        }
}
