// Prints how far random projections carry, for growing K.
#include <fmt/format.h>

#include "chapters/03_low_rank/random_projections.hpp"

int main() {
    using namespace attn::linformer;
    fmt::print(
        "Random projections R [K, N] with variance 1/K; heads of 8 normal numbers; 8 draws each\n\n"
        "                 after the softmax: P RᵀR V           as built: E = F = R\n"
        "                 error           error                error           length\n"
        "   N      K      of ‖P V‖        of ‖P‖ ‖V‖           of ‖P V‖        of the output\n");
    for (int N : {64, 256})
        for (int K : {16, 64, 256, 1024, 4096}) {
            const RandomProjections found = measure_random_projections(N, 8, K, 8, 1);
            fmt::print("{:4} {:6} {:13.3f} {:15.3f} {:20.3f} {:17.3f}\n", N, K, found.after_softmax / found.exact,
                       found.after_softmax / found.lengths, found.as_built / found.exact, found.output / found.exact);
        }
}
