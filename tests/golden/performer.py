"""Golden cases of Performer, linear attention with positive random features of the softmax kernel (FAVOR+).

`expected` comes from performer-pytorch, in float64, with the given features and every epsilon of it at 0: then its
stabilisers, maxima of exponents that it subtracts, cancel in the division, and what is left is the definition.
"""
import warnings

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")     # of what it imports
    from performer_pytorch.performer_pytorch import (causal_linear_attention_noncuda, linear_attention,
                                                     softmax_kernel)

from case import Case, random
from grouped_query import agree

PACKAGES = ["numpy", "torch", "performer-pytorch"]

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of Performer, as the chapters quote it: without a stabiliser, for which float64 and the inputs below leave
# room. Every case asserts that it agrees with performer-pytorch.
def performer(q, k, v, features, causal=False):             # [B,H,Nq,D], [B,H,Nk,D], [B,H,Nk,Dv], [M,D]
    q, k = phi(q, features), phi(k, features)                                # [B,H,Nq,M], [B,H,Nk,M]
    weights = q @ k.mT                                                       # [B,H,Nq,Nk], estimates of exp(q·k/sqrt D)
    weights = weights.tril() if causal else weights
    return weights @ v / weights.sum(dim=-1, keepdim=True)                   # [B,H,Nq,Dv]


def phi(x, features):
    x = x * x.shape[-1] ** -0.25                                             # of q and of k: 1/√D of their product
    squares = (x * x).sum(dim=-1, keepdim=True)                              # [B,H,N,1]
    return (x @ features.mT - squares / 2).exp() / len(features) ** 0.5      # [B,H,N,M]


def by_performer_pytorch(inputs, params):
    """What must come out."""
    q, k, v, features = (torch.tensor(inputs[name], dtype=torch.float64) for name in ("q", "k", "v", "features"))
    causal = params.get("causal", False)
    phi_q = softmax_kernel(q, projection_matrix=features, is_query=True, eps=0)
    phi_k = softmax_kernel(k, projection_matrix=features, is_query=False, eps=0)
    out = causal_linear_attention_noncuda(phi_q, phi_k, v, eps=0) if causal else linear_attention(phi_q, phi_k, v)
    assert out.dtype == torch.float64
    agree(performer(q, k, v, features, causal), out)
    return {"out": out.numpy().copy()}


def origin(params):
    name = "causal_linear_attention_noncuda" if params.get("causal") else "linear_attention"
    return (f"performer_pytorch.performer_pytorch's {name} of its softmax_kernel, in float64, with the given features, "
            "eps=0.")


def draw(name, D, Dv, M, N=None, Nq=None, Nk=None, B=1, H=1, size=1, coarse=False):
    """Standard normal; q and k times `size`. `coarse`, for sizes above 1: multiples of 1/16 before that.

    Features as in the paper: blocks of at most D orthogonal rows, each with the length of a standard normal vector.
    They are rounded to multiples of 1/64, as the last bits of a decomposition are not the same on every machine.
    """
    normal = random("performer", name).standard_normal
    shapes = {"q": (B, H, Nq or N, D), "k": (B, H, Nk or N, D), "v": (B, H, Nk or N, Dv)}
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    tensors = {key: np.round(x * 16) / 16 if coarse else x for key, x in tensors.items()}
    tensors["q"], tensors["k"] = tensors["q"] * size, tensors["k"] * size
    blocks = [np.linalg.qr(normal((D, D)))[0].T for _ in range(0, M, D)]
    lengths = np.linalg.norm(normal((M, D)), axis=1, keepdims=True)
    tensors["features"] = np.round(np.concatenate(blocks)[:M] * lengths * 64) / 64 + 0.0    # no -0
    return tensors


def cases():
    def simple(name, params, change=None, **shape):
        inputs = draw(name, **shape)
        if change:
            change(inputs)
        return Case(name, params, inputs, by_performer_pytorch(inputs, params), origin(params))

    causal = {"causal": True}

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, H, Nq, Nk, D, Dv, M; 1/sqrt(D) in the place of D^(-1/4), or on q alone; |x|^2 in the
    # place of |x|^2 / 2, or of x before D^(-1/4).
    yield simple("plain", {}, B=2, H=3, Nq=7, Nk=13, D=5, Dv=3, M=8)
    # j < i in the place of j <= i; `causal: false` read as true.
    yield simple("causal", causal, B=2, H=3, N=9, D=5, Dv=3, M=7)
    yield simple("not_causal", {"causal": False}, B=2, H=2, N=6, D=4, Dv=5, M=6)
    # Features that are as many as D is, or at least as many.
    yield simple("few_features", {}, B=2, H=2, Nq=6, Nk=8, D=8, Dv=4, M=3)
    yield simple("few_features_causal", causal, B=2, H=2, N=8, D=16, Dv=5, M=5)
    # More of them than a tile, or than a warp has threads.
    yield simple("many_features", {}, H=2, Nq=6, Nk=9, D=6, Dv=4, M=70)
    yield simple("many_features_causal", causal, H=2, N=12, D=4, Dv=3, M=70)
    yield simple("features_33", causal, H=2, N=10, D=16, Dv=16, M=33)
    # One feature: phi(q) cancels. A stabiliser of each key alone makes all weights the same.
    yield simple("one_feature", {}, B=2, H=2, Nq=5, Nk=7, D=3, Dv=4, M=1)
    yield simple("one_feature_causal", causal, B=2, H=2, N=7, D=4, Dv=2, M=1)
    # The least of everything.
    yield simple("one_element", {}, N=1, D=1, Dv=1, M=1)
    # One key is the answer of every row.
    yield simple("one_key", {}, B=2, H=2, Nq=5, Nk=1, D=3, Dv=2, M=4)
    yield simple("one_query", {}, B=2, H=2, Nq=1, Nk=37, D=5, Dv=3, M=6)
    yield simple("more_queries", {}, B=2, H=2, Nq=37, Nk=3, D=5, Dv=4, M=9)

    # An epsilon added to features or to the denominator. Weights are almost the same, and then very different.
    yield simple("small_inputs", {}, B=2, H=2, Nq=6, Nk=9, D=6, Dv=4, M=11, size=0.3)
    yield simple("small_inputs_causal", causal, B=2, H=2, N=9, D=6, Dv=4, M=11, size=0.3)
    yield simple("large_inputs", {}, H=2, Nq=9, Nk=17, D=8, Dv=5, M=12, size=3, coarse=True)
    yield simple("large_inputs_causal", causal, H=2, N=17, D=8, Dv=5, M=12, size=3, coarse=True)
    # No stabiliser: in float32 every product of features is 0, and the answer 0 / 0.
    yield simple("huge_inputs", {}, H=2, Nq=7, Nk=13, D=8, Dv=4, M=10, size=8, coarse=True)
    # One stabiliser for all keys: it is that of a later key, and of what the first rows see float32 has nothing left.
    yield simple("huge_inputs_causal", causal, H=2, N=13, D=8, Dv=4, M=10, size=8, coarse=True)
    # A state that is not rescaled when the stabiliser becomes larger with a later key; one that follows it down again.
    yield simple("rising_keys_causal", causal, change=rising, H=2, N=35, D=4, Dv=3, M=8, size=2, coarse=True)
    yield simple("falling_keys_causal", causal, change=falling, H=2, N=35, D=4, Dv=3, M=8, size=2, coarse=True)

    # Chunks of 16, 32 or 64: the state of the chunks before is forgotten, or counted twice; a last one of one row.
    yield simple("chunk_32", causal, N=32, D=4, Dv=5, M=16)
    yield simple("chunk_33", causal, H=2, N=33, D=5, Dv=4, M=17)
    yield simple("chunk_65", causal, N=65, D=6, Dv=3, M=9)
    yield simple("chunk_70", causal, B=2, N=70, D=4, Dv=6, M=13)
    # The same without a mask, where the last tiles of queries and of keys differ.
    yield simple("tile_crossing", {}, H=2, Nq=31, Nk=65, D=7, Dv=5, M=10)


# ---- changes of drawn inputs, which stay multiples of 1/32

def rising(inputs):
    N = inputs["k"].shape[2]
    inputs["k"] *= (np.arange(N) * 4 // N + 1)[:, None] / 4      # a quarter of the size, a half, three quarters, all


def falling(inputs):
    N = inputs["k"].shape[2]
    inputs["k"] *= (4 - np.arange(N) * 4 // N)[:, None] / 4
