// Prints how far two forms of retention are apart behind the norm of a RetNet layer: the recurrence as it is, and the
// parallel form with the paper's normalization of scores.
#include <fmt/format.h>

#include "chapters/07_beyond_attention/retention/retention_naive.hpp"
#include "chapters/07_beyond_attention/retention/retention_norm.hpp"
#include "common/tensor/random.hpp"

namespace {

using namespace attn;

// ‖a - b‖ / ‖b‖ of the outputs
double difference(double size_of_values, double epsilon) {
    constexpr int N = 64, D = 16;
    auto q = make_tensor<double, 4>({1, 1, N, D}), k = q, v = q, out = q, state = make_tensor<double, 4>({1, 1, D, D});
    fill_normal(view(q), 1), fill_normal(view(k), 2), fill_normal(view(v), 3, size_of_values);
    const double decay[] = {retention::paper_decay(0)}, scale = 0.25;
    const auto &queries = q, &keys = k, &values = v;
    const retention::Inputs<double> in{view(queries), view(keys), view(values), {decay, {{1}}}, {}};
    retention::naive(in, {scale, retention::Form::recurrent}, retention::Outputs<double>{view(out), view(state)});
    auto scaled = make_tensor<double, 4>({1, 1, N, D});
    retention::naive(in, {scale, retention::Form::parallel}, retention::Outputs<double>{view(scaled), view(state)});
    retention::normalise_scores(in, scale, view(scaled));
    retention::normalise_heads(view(out), retention::Norm::rms, epsilon);
    retention::normalise_heads(view(scaled), retention::Norm::rms, epsilon);
    double squares = 0, reference = 0;
    for (std::size_t index = 0; index < out.size(); ++index) {
        const double a = scaled.data()[index], b = out.data()[index];
        squares += (a - b) * (a - b), reference += b * b;
    }
    return std::sqrt(squares / reference);
}

}  // namespace

int main() {
    fmt::print(
        "Retention in parallel with normalized scores, held against the recurrence, behind an RMSNorm\n"
        "(64 tokens, D = 16, γ = 31/32): ‖difference‖ / ‖out‖\n\n"
        "size of v     ε = 0      ε = 1e-6     ε = 1e-5\n");
    for (double size : {1.0, 0.1, 0.01, 0.001})
        fmt::print("{:9}{:>10}{:13.2g}{:13.2g}\n", size, difference(size, 0) < 1e-12 ? "< 1e-12" : "differs",
                   difference(size, 1e-6), difference(size, 1e-5));
}
