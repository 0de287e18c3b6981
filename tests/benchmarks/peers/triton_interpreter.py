"""Tiled attention in Triton's interpreter: every tile operation is a numpy operation, one program after the other.

One head, float32, not causal. A program takes as many queries as a tile has keys and goes through the keys tile by
tile, with an online softmax; both products are tl.dot in full float32. Without TRITON_INTERPRET the same kernel would
be compiled for a GPU; this program always sets it.

Times the launch alone: neither the imports nor the check against numpy in float64. The time depends on the number of
tiles more than on their size.
"""
import math
import os

os.environ["TRITON_INTERPRET"] = "1"

import triton
import triton.language as tl

import peer


# The arrays come as addresses: the interpreter takes tensors of PyTorch, or anything that it can treat as one, and
# numpy's are not of that kind.
@triton.jit
def attention_tiles(q_address, k_address, v_address, out_address, n, scale, d: tl.constexpr, rows: tl.constexpr,
                    tile: tl.constexpr):
    q = q_address.to(tl.pointer_type(tl.float32))
    k = k_address.to(tl.pointer_type(tl.float32))
    v = v_address.to(tl.pointer_type(tl.float32))
    out = out_address.to(tl.pointer_type(tl.float32))
    i = tl.program_id(0) * rows + tl.arange(0, rows)
    c = tl.arange(0, d)
    query = tl.load(q + i[:, None] * d + c[None, :], mask=i[:, None] < n, other=0.0) * scale    # [rows,d]
    maximum = tl.full([rows], float("-inf"), tl.float32)
    total = tl.zeros([rows], tl.float32)
    sums = tl.zeros([rows, d], tl.float32)

    for first in range(0, n, tile):
        j = first + tl.arange(0, tile)
        keys = tl.load(k + j[None, :] * d + c[:, None], mask=j[None, :] < n, other=0.0)         # [d,tile]
        values = tl.load(v + j[:, None] * d + c[None, :], mask=j[:, None] < n, other=0.0)       # [tile,d]
        scores = tl.dot(query, keys, input_precision="ieee")                                    # [rows,tile]
        scores = tl.where(j[None, :] < n, scores, float("-inf"))
        new_maximum = tl.maximum(maximum, tl.max(scores, 1))
        factor = tl.exp(maximum - new_maximum)
        weights = tl.exp(scores - new_maximum[:, None])
        total = total * factor + tl.sum(weights, 1)
        sums = tl.dot(weights, values, sums * factor[:, None], input_precision="ieee")
        maximum = new_maximum

    tl.store(out + i[:, None] * d + c[None, :], sums / total[:, None], mask=i[:, None] < n)


def attention(q, k, v, out, tile):
    n, d = q.shape
    addresses = [array.ctypes.data for array in (q, k, v, out)]
    attention_tiles[(triton.cdiv(n, tile),)](*addresses, n, 1 / math.sqrt(d), d, tile, tile)


if __name__ == "__main__":
    peer.measure("Triton interpreter", f"triton {triton.__version__}", attention, __doc__)
