// Linked with the solutions by one program of tests, and with the stubs by another.
#include "tests/00_dense_attention/exercises_on_device.hpp"

#include "common/cuda/on_device.hpp"
#if !defined(__CUDACC__)
#include "common/emulator/emulator.hpp"
#endif

namespace attn::exercises {

namespace {

template <auto exercise>
void run_anew(const auto& in, const auto& options, const auto& out) {
#if !defined(__CUDACC__)
    cudaDeviceReset();  // an error of the test before would hide this one's; on a GPU the process is lost anyway
#endif
    on_device<exercise>(in, options, out);
}

}  // namespace

void run(const row_maximum::Inputs& in, const row_maximum::Options& options, const row_maximum::Outputs& out) {
    run_anew<&row_maximum::row_maximum>(in, options, out);
}

void run(const warp_reduction::Inputs& in, const warp_reduction::Options& options, const warp_reduction::Outputs& out) {
    run_anew<&warp_reduction::warp_reduction>(in, options, out);
}

void run(const tile_transpose::Inputs& in, const tile_transpose::Options& options, const tile_transpose::Outputs& out) {
    run_anew<&tile_transpose::tile_transpose>(in, options, out);
}

void run(const scores_kernel::Inputs& in, const scores_kernel::Options& options, const scores_kernel::Outputs& out) {
    run_anew<&scores_kernel::scores_kernel>(in, options, out);
}

std::optional<Accesses> accesses() {
#if defined(__CUDACC__)
    return {};
#else
    const emulator::Counts& counts = emulator::counts();
    return Accesses{counts.global_load_bytes, counts.global_store_bytes, counts.shared_load_bytes,
                    counts.shared_store_bytes};
#endif
}

void forget_accesses() {
#if !defined(__CUDACC__)
    emulator::reset();
#endif
}

}  // namespace attn::exercises
