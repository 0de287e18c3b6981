// Linked into the tests of what nvcc compiled: without a GPU there is nothing to run, and that is said.
#include <cstdio>
#include <cstdlib>

namespace attn {
bool probe_gpu();  // common/cuda/gpu_probe.cu
}

namespace {

[[maybe_unused]] const bool gpu_answers = [] {
    if (attn::probe_gpu()) return true;
    std::puts("not run: no GPU");
    std::fflush(stdout);
    std::_Exit(77);
}();

}  // namespace
