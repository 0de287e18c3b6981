// Stage 3's kernel on the device, for the next stage.
#pragma once

#include "chapters/05_flash_attention/flash_attention.hpp"
#include "common/cuda/build.hpp"

namespace attn::flash_attention {
inline namespace ATTN_BUILD {

constexpr int tile_keys = 64;

// How many blocks the kernel of stage 3 would have.
inline std::int64_t blocks_of_tiles(const Sizes& size) {
    constexpr int block_queries = 64;
    return std::int64_t{size.B} * size.H * ((size.Nq + block_queries - 1) / block_queries);
}
void launch_tiles(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::flash_attention
