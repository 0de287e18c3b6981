// Prints what attention, Mamba and Mamba-2 multiply the values of six tokens with.
#include <fmt/format.h>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/07_beyond_attention/selective_scan/matrices.hpp"
#include "chapters/07_beyond_attention/selective_scan/state_space_dual.hpp"
#include "common/tensor/random.hpp"

namespace {

using namespace attn;

constexpr int L = 6, S = 2;

void print(const char* title, const Tensor<double, 2>& matrix) {
    fmt::print("{}\n", title);
    int negative = 0;
    for (int i = 0; i < L; ++i) {
        double sum = 0;
        for (int j = 0; j < L; ++j) {
            if (j <= i)
                fmt::print("{:8.3f}", matrix(i, j));
            else
                fmt::print("{:>8}", "·");
            sum += matrix(i, j), negative += matrix(i, j) < 0;
        }
        fmt::print("   sum {:6.3f}\n", sum);
    }
    fmt::print("   {} of {} negative; the last 3 tokens read of the first 3: rank {}\n\n", negative, L * (L + 1) / 2,
               selective_scan::rank_below(matrix, L / 2));
}

template <class T, int N>
Tensor<double, N> normal(Shape<N> shape, T seed) {
    Tensor<double, N> tensor = make_tensor<double, N>(shape);
    fill_normal(view(tensor), static_cast<std::uint64_t>(seed));
    return tensor;
}

}  // namespace

int main() {
    fmt::print(
        "Six tokens. The matrix that the values are multiplied with (u, where it is a scan), a row for each output.\n"
        "Of the scans no matrix is ever formed: here it is found by asking them for the answer to each token "
        "alone.\n\n");

    const Tensor<double, 4> q = normal<int, 4>({{1, 1, L, S}}, 1), k = normal<int, 4>({{1, 1, L, S}}, 2);
    Tensor<double, 4> ones = make_tensor<double, 4>({1, 1, L, L}, 0.0), out = ones;
    for (int j = 0; j < L; ++j) ones(0, 0, j, j) = 1;  // values that show the weights
    Tensor<double, 3> log_sum_exp = make_tensor<double, 3>({1, 1, L});
    const Tensor<double, 4>& identity = ones;
    dense::naive_forward<double>({view(q), view(k), view(identity), {}}, {.causal = true, .scale = 1 / std::sqrt(S)},
                                 {view(out), view(log_sum_exp), {}, {}, {}});
    Tensor<double, 2> matrix = make_tensor<double, 2>({L, L});
    std::copy(out.begin(), out.end(), matrix.begin());
    print("Attention with a softmax, D = 2", matrix);

    const Tensor<double, 3> u = make_tensor<double, 3>({1, 2, L}), delta = normal<int, 3>({{1, 2, L}}, 3),
                            b = normal<int, 3>({{1, S, L}}, 4), c = normal<int, 3>({{1, S, L}}, 5);
    Tensor<double, 2> a = make_tensor<double, 2>({2, S});
    for (int d = 0; d < 2; ++d) a(d, 0) = -1, a(d, 1) = -2;
    const Tensor<double, 2>& rates = a;
    selective_scan::Inputs<double> scan{view(u), view(delta), view(rates), view(b), view(c), {}, {}, {}, {}};
    const selective_scan::Options options{.delta_softplus = true};
    print("Mamba, S = 2, the first of two channels", matrix_of_channel(scan, options, 0));
    print("Mamba, S = 2, the second channel: another matrix, out of the same B and C",
          matrix_of_channel(scan, options, 1));

    Tensor<double, 2> queries = make_tensor<double, 2>({L, S}), keys = queries;
    Tensor<double, 1> decays = make_tensor<double, 1>({{L}});
    for (int t = 0; t < L; ++t) {
        const double step = selective_scan::softplus(delta(0, 0, t));
        for (int s = 0; s < S; ++s) queries(t, s) = c(0, s, t), keys(t, s) = step * b(0, s, t);
        decays(t) = -step;
    }
    const Tensor<double, 2>&as_queries = queries, &as_keys = keys;
    const Tensor<double, 1>& as_decays = decays;
    state_space_dual::weights<double>({view(as_queries), view(as_keys), {}, view(as_decays)}, view(matrix));
    print("Mamba-2, N = 2: one matrix for all channels of a head, (C Bᵀ) ∘ a mask of decays", matrix);
}
