// Prints how Performer's error falls with the number of features, for queries and keys of several lengths.
#include "chapters/02_linear/performer/convergence.hpp"

#include <fmt/format.h>

int main() {
    using namespace attn::performer;
    constexpr int counts[] = {32, 128, 512, 2048};
    fmt::print(
        "Performer against dense attention: ‖out - dense‖ / ‖dense‖; 48 tokens, one head, D = 64; 6 draws.\n"
        "q and k are normal times a factor; |x + y|² is its expected value for x = q/D^(1/4), y = k/D^(1/4).\n\n"
        "factor   |x + y|²");
    for (int M : counts) fmt::print("{:>12}", fmt::format("M = {}", M));
    fmt::print("   mean of v\n");
    for (double factor : {0.1, 0.3, 0.6, 1.0, 1.5}) {
        fmt::print("{:6.1f} {:10.2f}", factor, 2 * std::sqrt(64) * factor * factor);
        for (int M : counts) fmt::print("{:12.3f}", distance_from_dense(M, factor, 6).performer);
        fmt::print("{:12.3f}\n", distance_from_dense(1, factor, 6).mean);
    }
}
