// The CUDA versions that this program holds. A `.cu` file adds its own when the program starts; whoever runs one finds
// it by mechanism, name and device. Light: kernels include it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attn {

struct CudaVersion {
    std::string mechanism;  // "dense"
    std::string name;       // "stage2"
    std::string device;     // "cuda" or "emulated"
    std::string idea;       // one sentence
    void (*run)();          // of the mechanism's own type, see cuda_function
};

bool add_cuda_version(CudaVersion version);

// Of one mechanism and device, in the order of their names: the last stage comes last.
std::vector<CudaVersion> cuda_versions(std::string_view mechanism, std::string_view device);

template <class Function>
Function cuda_function(const CudaVersion& version) {
    return reinterpret_cast<Function>(version.run);
}

// Whether a GPU answers. False where the program was built without nvcc.
bool gpu_available();
extern bool (*gpu_probe)();

}  // namespace attn
