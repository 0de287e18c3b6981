// Linformer on the GPU: two products of matrices, and then attention to K keys and values, which is FlashAttention's
// kernel as it stands. A head's K̃ and Ṽ are in memory, K × (D + Dv) numbers; its Nq × K weights never are.
#include <algorithm>

#include "chapters/03_low_rank/linformer.hpp"
#include "chapters/05_flash_attention/flash_attention_tiles.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/matrix_product.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::linformer {
namespace {

// slots = projection · positions for each head of each sequence: `shared` for all heads, or `of_heads` for each.
void project(const TensorView<const float, 2>& shared, const TensorView<const float, 3>& of_heads,
             const TensorView<const float, 4>& positions, const TensorView<float, 4>& slots) {
    const int B = positions.extent(0), H = positions.extent(1), N = positions.extent(2);
    const int columns = positions.extent(3), K = slots.extent(2);
    constexpr int one_matrix = 1 << 30;  // rows without a second batch
    // One launch for everything, if all heads have the same projection: a distance of 0 between theirs. Else one for
    // each sequence, as the projections begin anew with it.
    constexpr int most_heads = 65535;  // of a launch: the limit of gridDim.z
    const int all = B * H, at_once = shared ? std::min(all, most_heads) : H;
    const Rows<const float> projection{shared ? shared.data() : of_heads.data(), N, one_matrix, 0,
                                       shared ? 0 : std::int64_t{K} * N};
    for (int first = 0; first < all; first += at_once) {
        const std::int64_t of_positions = std::int64_t{N} * columns, of_slots = std::int64_t{K} * columns;
        multiply_by_transposed(projection,
                               {positions.data() + first * of_positions, columns, one_matrix, 0, of_positions},
                               {slots.data() + first * of_slots, columns, one_matrix, 0, of_slots}, K, columns, N,
                               std::min(at_once, all - first));
    }
}

void launch_tiles(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    DeviceTensor<float, 4> keys({size.B, size.H, size.K, size.D}, "projected keys"),
        values({size.B, size.H, size.K, size.Dv}, "projected values");
    // [19.4.3-1] projected keys
    project(in.key_projection, in.key_projection_of_heads, in.k, keys.view());
    // [19.4.3-2] projected values
    project(in.value_projection, in.value_projection_of_heads, in.v, values.view());

    // [19.4.3-3] to [19.4.3-5] attention to the slots, tile by tile. Nobody reads its log_sum_exp.
    DeviceTensor<float, 3> log_sum_exp({size.B, size.H, size.Nq}, "log_sum_exp");
    flash_attention::launch_tiles({in.q, keys.view(), values.view(), {}}, {false, options.scale},
                                  {out.out, log_sum_exp.view(), {}, {}, {}});
}

}  // namespace
}  // namespace attn::linformer

ATTN_CUDA_VERSION("linformer", "tiles", "projections by tiled products; FlashAttention's kernel over the slots",
                  attn::linformer::launch_tiles, attn::linformer::Inputs<float>, attn::linformer::Options,
                  attn::linformer::Outputs<float>)
