// Grouped-query attention on the device, for other kernels of the family.
#pragma once

#include "chapters/04_head_sharing/grouped_query/grouped_query.hpp"
#include "common/cuda/build.hpp"

namespace attn::grouped_query {
inline namespace ATTN_BUILD {

// The queries of one step against a cache, all in device memory, into out and log_sum_exp. Of in.k and in.v only the
// shapes are looked at.
void attend_on_device(const Inputs<float>& in, const kv_cache::KvCache<const float>& cache, const Options& options,
                      const Step& step, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::grouped_query
