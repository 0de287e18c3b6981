// launch(kernel, {grid, block, shared_bytes}, arguments…): kernel<<<grid, block, shared_bytes>>>(arguments…), checked.
#pragma once

#include <cstdint>
#include <utility>

#include "common/cuda/check.hpp"

namespace attn {
inline namespace ATTN_BUILD {

struct LaunchShape {
    dim3 grid;
    dim3 block;
    std::size_t shared_bytes = 0;
    std::source_location place = std::source_location::current();
};

template <class... Parameter, class... Argument>
void launch(void (*kernel)(Parameter...), const LaunchShape& shape, Argument&&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    if (shape.shared_bytes > (48 << 10))  // more than the default must be asked for
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shape.shared_bytes)),
              shape.place);
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Argument>(arguments)...), shape.place);
    check(cudaGetLastError(), shape.place);
}

// How many blocks of `block` cover `count`, rounded up.
constexpr unsigned blocks_for(std::int64_t count, std::int64_t block) {
    return static_cast<unsigned>((count + block - 1) / block);
}

}  // namespace ATTN_BUILD
}  // namespace attn
