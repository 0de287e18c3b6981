// Sliding-window attention on the GPU, stage 3: a kernel for this pattern alone. Which tiles a tile of queries visits,
// and which of them are partial, is arithmetic here; there is no list to make, to upload and to read. The rest is the
// block-sparse kernel's (block_sparse.cuh), so that the two show what the lists cost.
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/01_fixed_sparse/sliding_window/sliding_window.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::sliding_window {
namespace {

struct WindowTiles : fixed_sparse::WindowPattern {
    // [19.4.1-8] the visits: tiles of the window, from the first key of the first query to the own one of the last, and
    // tiles with sinks before them
    template <class Function>
    __device__ void for_each_visit(int first_query, int last_query, Function f) const {
        const int first = position(first_query), last = position(last_query);
        const int window_begin = max(0, max(0, first) - (window - 1)) / tile;
        for (int visit = 0; visit * tile <= last; ++visit) {
            if (visit * tile >= sinks) visit = max(visit, window_begin);  // behind the sinks
            const int first_key = visit * tile, last_key = first_key + tile - 1;
            const bool is_full = last_key <= first && (last - first_key < window || last_key < sinks);
            f(visit, !is_full);
        }
    }
};

void launch_stage3(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    fixed_sparse::launch_without_lists({in.q,
                                        in.k,
                                        in.v,
                                        out.out,
                                        out.log_sum_exp,
                                        static_cast<float>(options.scale),
                                        {size.Nq, size.Nk, size.H / size.G}},
                                       WindowTiles{pattern(size, options)});
}

}  // namespace
}  // namespace attn::sliding_window

ATTN_CUDA_VERSION("sliding_window", "stage3", "without lists: the window's tiles by arithmetic",
                  attn::sliding_window::launch_stage3, attn::sliding_window::Inputs<float>,
                  attn::sliding_window::Options, attn::sliding_window::Outputs<float>)
