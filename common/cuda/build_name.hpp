// ATTN_BUILD: the inline namespace of what a `.cu` file defines, as in build.hpp, without the CUDA headers: for
// interfaces that ordinary C++ includes too.
#pragma once

#if defined(__CUDACC__)
#define ATTN_BUILD gpu
#else
#define ATTN_BUILD emulated
#endif
