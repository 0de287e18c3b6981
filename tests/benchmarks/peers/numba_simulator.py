"""Tiled attention in Numba's CUDA simulator: every CUDA thread is a Python thread.

One head, float32, not causal. A block of 64 threads takes 64 queries, one for each thread, and goes through the keys in
tiles that its threads load into shared memory together; the softmax is an online softmax. Without
NUMBA_ENABLE_CUDASIM the same kernel would be compiled for a GPU; this program always sets it.

Times the launch alone: neither the imports nor the check against numpy in float64. The time grows with n² and, as every
barrier is expensive here, with the number of tiles; --n 128 takes about a sixteenth of what 512 takes. --tile above 64
would need more shared memory than a GPU gives a kernel's fixed arrays.
"""
import math
import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

import numba
from numba import cuda, float32

import peer

rows = 64  # queries, and threads, of one block


def kernel_for(d, tile):
    @cuda.jit
    def attention_rows(q, k, v, out, scale):
        keys = cuda.shared.array((tile, d), float32)
        values = cuda.shared.array((tile, d), float32)
        query = cuda.local.array(d, float32)
        sums = cuda.local.array(d, float32)
        n = q.shape[0]
        thread = cuda.threadIdx.x
        i = cuda.blockIdx.x * rows + thread
        if i < n:
            for c in range(d):
                query[c] = q[i, c] * scale
                sums[c] = 0
        maximum = float32(-math.inf)
        total = float32(0)

        for first in range(0, n, tile):
            count = min(tile, n - first)
            for position in range(thread, count * d, rows):
                j, c = position // d, position % d
                keys[j, c] = k[first + j, c]
                values[j, c] = v[first + j, c]
            cuda.syncthreads()  # the tile is complete
            if i < n:
                for j in range(count):
                    score = float32(0)
                    for c in range(d):
                        score += query[c] * keys[j, c]
                    if score > maximum:  # what was summed so far moves to the new maximum
                        factor = math.exp(maximum - score)
                        total *= factor
                        for c in range(d):
                            sums[c] *= factor
                        maximum = score
                    weight = math.exp(score - maximum)
                    total += weight
                    for c in range(d):
                        sums[c] += weight * values[j, c]
            cuda.syncthreads()  # nobody reads it any more

        if i < n:
            for c in range(d):
                out[i, c] = sums[c] / total

    return attention_rows


def attention(q, k, v, out, tile):
    n, d = q.shape
    kernel_for(d, tile)[(n + rows - 1) // rows, rows](q, k, v, out, float32(1 / math.sqrt(d)))


if __name__ == "__main__":
    peer.measure("Numba CUDA simulator", f"numba {numba.__version__}", attention, __doc__)
