// The golden cases of a mechanism, made by implementations that no one here wrote, through its implementations here.
#pragma once

#include <algorithm>
#include <filesystem>

#include "common/mechanism/mechanism.hpp"
#include "common/tensor/compare.hpp"
#include "tests/support/catch.hpp"

namespace attn::testing {

inline std::vector<Case> golden_cases(const std::string& mechanism) {
    std::vector<std::filesystem::path> folders;
    for (const auto& entry : std::filesystem::directory_iterator(ATTN_SOURCE_FOLDER "/tests/golden/" + mechanism))
        if (entry.is_directory()) folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    std::vector<Case> cases;
    for (const auto& folder : folders) cases.push_back(read_case(folder));
    return cases;
}

inline void check_outputs(const Case& golden, const NamedArrays& outputs, double bound, double element_factor) {
    for (const auto& [name, reference] : golden.expected) {
        Comparison comparison = compare(outputs.at(name), reference, bound, element_factor);
        INFO(golden.folder << " " << name << ": relative error " << comparison.relative_error << ", wrong "
                           << comparison.wrong << ", first " << index_text(reference.shape, comparison.first_wrong));
        CHECK(comparison.within);
    }
}

// The bounds are those of `attn run`.
inline void check_naive_on_golden_cases(const std::string& name) {
    const Mechanism& mechanism = *find_mechanism(name);
    for (const Case& golden : golden_cases(name)) {
        mechanism.check(golden);
        check_outputs(golden, mechanism.run_naive(golden, Precision::float64), 1e-10, 30);
        check_outputs(golden, mechanism.run_naive(golden, Precision::float32), 2e-5, 30);
        check_outputs(golden, mechanism.run_naive(golden, Precision::float16), 2e-2, 5);
        check_outputs(golden, mechanism.run_naive(golden, Precision::bfloat16), 2e-2, 5);
    }
}

// The forward pass of a case: without d_out, and the gradients expected of it.
inline Case without_gradients(Case golden) {
    golden.inputs.erase("d_out");
    std::erase_if(golden.expected, [](const auto& output) { return output.first.starts_with("d_"); });
    return golden;
}

// Of cases that check_cuda refuses, the forward pass.
inline void check_cuda_on_golden_cases(const std::string& name, std::size_t stages) {
    const Mechanism& mechanism = *find_mechanism(name);
    const std::vector<CudaVersion> versions = cuda_versions(name, ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == stages);
    for (const CudaVersion& version : versions)
        for (Case golden : golden_cases(name)) {
            if (mechanism.check_cuda && golden.inputs.count("d_out")) golden = without_gradients(golden);
            INFO(version.name);
            check_outputs(golden, mechanism.run_cuda(golden, version), 2e-5, 30);
        }
}

}  // namespace attn::testing
