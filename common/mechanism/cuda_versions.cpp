#include "common/mechanism/cuda_versions.hpp"

#include <algorithm>

namespace attn {

namespace {
std::vector<CudaVersion>& all_versions() {
    static std::vector<CudaVersion> versions;
    return versions;
}
}  // namespace

bool (*gpu_probe)() = nullptr;

bool gpu_available() {
    static const bool available = gpu_probe && gpu_probe();
    return available;
}

bool add_cuda_version(CudaVersion version) {
    all_versions().push_back(std::move(version));
    return true;
}

std::vector<CudaVersion> cuda_versions(std::string_view mechanism, std::string_view device) {
    std::vector<CudaVersion> found;
    for (const CudaVersion& version : all_versions())
        if (version.mechanism == mechanism && version.device == device) found.push_back(version);
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return found;
}

}  // namespace attn
