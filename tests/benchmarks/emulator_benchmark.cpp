// How long the emulator takes for dense attention, one head, not causal: prints a line of JSON.
//   benchmark_emulator [STAGE [N [D]]]     default: stage2 512 64, all checks on
//   benchmark_emulator_bare …              the same kernels compiled without the memory hooks: nothing is checked
// ATTN_WORKERS: how many cores share the blocks, all of them by default.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "chapters/00_dense_attention/dense_attention.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "common/tensor/random.hpp"

int main(int argc, char** argv) {
    using namespace attn;
    const std::string stage = argc > 1 ? argv[1] : "stage2";
    const int n = argc > 2 ? std::atoi(argv[2]) : 512, d = argc > 3 ? std::atoi(argv[3]) : 64;
    if (const char* workers = std::getenv("ATTN_WORKERS")) emulator::use_workers(std::atoi(workers));

    const Shape<4> shape{{1, 1, n, d}};
    std::vector<float> q(static_cast<std::size_t>(n * d)), k = q, v = q, out = q,
                                                           log_sum_exp(static_cast<std::size_t>(n));
    std::uint64_t seed = 0;
    for (auto* tensor : {&q, &k, &v}) fill_normal(TensorView<float, 2>(tensor->data(), {n, d}), ++seed);
    const dense::Inputs<float> inputs{{q.data(), shape}, {k.data(), shape}, {v.data(), shape}, {}};
    const dense::Outputs<float> outputs{{out.data(), shape}, {log_sum_exp.data(), {{1, 1, n}}}, {}, {}, {}};
    for (const CudaVersion& version : cuda_versions("dense", "emulated")) {
        if (version.name != stage) continue;
        const auto start = std::chrono::steady_clock::now();
        cuda_function<dense::CudaFunction>(version)(inputs, {false, 1 / std::sqrt(d)}, outputs);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        fmt::print("{{\"peer\": \"this emulator, {}{}\", \"n\": {}, \"d\": {}, \"seconds\": {:.4f}}}\n", stage,
                   emulator::counts().global_loads ? "" : ", nothing checked", n, d, seconds.count());
        return 0;
    }
    fmt::print(stderr, "no stage {}; there are stage1 and stage2\n", stage);
    return 2;
}
