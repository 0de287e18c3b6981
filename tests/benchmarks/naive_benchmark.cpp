// What a TensorView costs: the naive version of dense attention against the same loops on plain arrays.
// Build with -DATTN_BENCHMARKS=ON, run benchmark_naive.
#include <benchmark/benchmark.h>

#include <cmath>
#include <limits>
#include <vector>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "common/tensor/random.hpp"

using namespace attn;

namespace {

constexpr int N = 1024, D = 64;

std::vector<float> random_vector(std::uint64_t seed) {
    std::vector<float> values(N * D);
    fill_normal(TensorView<float, 2>(values.data(), {N, D}), seed);
    return values;
}

void tensor_views(benchmark::State& state) {
    auto q = random_vector(1), k = random_vector(2), v = random_vector(3);
    std::vector<float> out(N * D), log_sum_exp(N);
    Shape<4> shape{{1, 1, N, D}};
    dense::Inputs<float> inputs{{q.data(), shape}, {k.data(), shape}, {v.data(), shape}, {}};
    dense::Outputs<float> outputs{{out.data(), shape}, {log_sum_exp.data(), {{1, 1, N}}}, {}, {}, {}};
    for (auto _ : state) {
        dense::naive_forward(inputs, {false, 1 / std::sqrt(double{D})}, outputs);
        benchmark::DoNotOptimize(out.data());
    }
}

void plain_arrays(benchmark::State& state) {
    auto q = random_vector(1), k = random_vector(2), v = random_vector(3);
    std::vector<float> out(N * D), log_sum_exp(N), s(N * N);
    const float scale = 1 / std::sqrt(float{D});
    for (auto _ : state) {
        for (int i = 0; i < N; ++i)
            for (int j = 0; j < N; ++j) {
                float dot = 0;
                for (int d = 0; d < D; ++d) dot += q[i * D + d] * k[j * D + d];
                s[i * N + j] = scale * dot;
            }
        for (int i = 0; i < N; ++i) {
            float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
            for (int j = 0; j < N; ++j)
                if (maximum < s[i * N + j]) maximum = s[i * N + j];
            for (int j = 0; j < N; ++j) {
                s[i * N + j] = std::exp(s[i * N + j] - maximum);
                sum += s[i * N + j];
            }
            for (int j = 0; j < N; ++j) s[i * N + j] /= sum;
            log_sum_exp[i] = maximum + std::log(sum);
        }
        for (int i = 0; i < N; ++i)
            for (int d = 0; d < D; ++d) {
                float mean = 0;
                for (int j = 0; j < N; ++j) mean += s[i * N + j] * v[j * D + d];
                out[i * D + d] = mean;
            }
        benchmark::DoNotOptimize(out.data());
    }
}

BENCHMARK(tensor_views)->Unit(benchmark::kMillisecond);
BENCHMARK(plain_arrays)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
