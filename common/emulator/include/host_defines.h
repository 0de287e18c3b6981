// CUDA's function and variable qualifiers, as the emulator understands them.
//
// A block's threads are fibers of one OS thread, so what they share is a variable of that OS thread: `__shared__` is
// `thread_local`. Everything is compiled for the CPU, so the other qualifiers say nothing new.
//
// `__noinline__` is left undefined on purpose: the standard library writes __attribute__((__noinline__)), which a macro
// of that name would break. Write __attribute__((noinline)) in kernels.
#pragma once

#ifdef __CUDACC__
#error "The emulator's headers are for the host compiler: nvcc has its own."
#endif

#define __global__
#define __device__
#define __host__
#define __shared__ thread_local
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
