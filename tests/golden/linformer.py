"""Golden cases of Linformer: softmax attention to K rows that a projection makes of the N keys and values.

`expected` comes from the LinformerSelfAttention of the package linformer, in float64. Its weights, which make queries,
keys and values of tokens, pick the given ones, unchanged. With projections for each head, it is asked one head at a
time.
"""
import importlib
import pathlib
import sys

import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from case import Case, random
from grouped_query import agree

PACKAGES = ["numpy", "torch", "linformer"]
ORIGIN = ("linformer.linformer.LinformerSelfAttention, in float64; its to_q, to_k, to_v and to_out hold zeros and ones "
          "that pick q, k, v and out")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of Linformer, as the chapters quote it. Every case asserts that it agrees with the package.
def linformer(q, k, v, key_projection, value_projection, scale=None):       # [B,H,Nq,D], [B,H,N,D], [B,H,N,Dv]
    k, v = key_projection @ k, value_projection @ v                          # [B,H,K,D], [B,H,K,Dv]; [K,N] or [H,K,N]
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)    # [B,H,Nq,K]: no N in it
    return scores.softmax(dim=-1) @ v                                        # [B,H,Nq,Dv]


def package():
    """The package linformer. This file has the same name, and comes first in the path."""
    this, path = sys.modules.pop(__name__, None), sys.path[:]
    here = pathlib.Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in path if pathlib.Path(folder).resolve() != here]
    try:
        return importlib.import_module("linformer.linformer")
    finally:
        sys.path[:] = path
        if this:
            sys.modules[__name__] = this


LinformerSelfAttention = package().LinformerSelfAttention


def by_package(q, k, v, key_projection, value_projection, scale):
    """Projections are [K,N]; the package's own shape is [N,K]. A token is [k, v] of all heads, or [q, 0]. The package
    has one head dimension for all three, here W, and the scale of that, so q is multiplied by what is missing."""
    (B, H, Nq, D), Dv, (K, N) = q.shape, v.shape[3], key_projection.shape
    W = max(D, Dv)
    layer = LinformerSelfAttention(H * (D + Dv), N, k=K, heads=H, dim_head=W).double().eval()
    pick_first = pad(torch.eye(D, dtype=torch.float64), (0, Dv, 0, W - D))                   # [W,D+Dv]
    pick_last = pad(torch.eye(Dv, dtype=torch.float64), (D, 0, 0, W - Dv))
    heads = torch.eye(H, dtype=torch.float64)
    layer.load_state_dict({
        "to_q.weight": torch.kron(heads, pick_first) * ((D ** -0.5 if scale is None else scale) * W ** 0.5),
        "to_k.weight": torch.kron(heads, pick_first), "to_v.weight": torch.kron(heads, pick_last),
        "to_out.weight": torch.kron(heads, pick_last).mT, "to_out.bias": torch.zeros(H * (D + Dv)),
        "proj_k": key_projection.mT, "proj_v": value_projection.mT})
    queries = pad(q, (0, Dv)).transpose(1, 2).flatten(2)                                     # [B,Nq,H(D+Dv)]
    tokens = torch.cat((k, v), dim=-1).transpose(1, 2).flatten(2)                            # [B,N,H(D+Dv)]
    return layer(queries, context=tokens).unflatten(-1, (H, D + Dv))[..., D:].transpose(1, 2)


def by_linformer(inputs, params):
    """What must come out."""
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    q, k, v, E, F = t.values()
    scale = params.get("scale")
    with torch.no_grad():
        if E.ndim == 2:
            out = by_package(q, k, v, E, F, scale)
        else:
            out = torch.cat([by_package(*(x[:, h:h + 1] for x in (q, k, v)), E[h], F[h], scale)
                             for h in range(q.shape[1])], dim=1)
        agree(linformer(q, k, v, E, F, scale), out)
    assert out.dtype == torch.float64
    return {"out": out.numpy().copy()}


def origin(inputs, params):
    text = ORIGIN
    if inputs["key_projection"].ndim == 3:
        text += ", one head at a time, each with its projections"
    if params.get("scale") is not None:
        text += "; the scale was put into to_q"
    elif inputs["q"].shape[3] < inputs["v"].shape[3]:
        text += "; 1/sqrt(D) in the place of its 1/sqrt(Dv) was put into to_q"
    return text + "."


def draw(name, D, Dv, K, N, Nq=None, B=1, H=1, per_head=False, coarse=False):
    """Standard normal; projections such that what they make is about standard normal again. `coarse`: multiples of
    1/16, which every 16-bit format holds exactly."""
    normal = random("linformer", name).standard_normal
    projection = (H, K, N) if per_head else (K, N)
    shapes = {"q": (B, H, Nq or N, D), "k": (B, H, N, D), "v": (B, H, N, Dv), "key_projection": projection,
              "value_projection": projection}
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    for key in ("key_projection", "value_projection"):
        tensors[key] /= N ** 0.5
    return {key: np.round(x * 16) / 16 if coarse else x for key, x in tensors.items()}


def cases():
    def simple(name, params=None, change=None, **shape):
        inputs = draw(name, **shape)
        if change:
            change(inputs)
        return Case(name, params or {}, inputs, by_linformer(inputs, params or {}), origin(inputs, params or {}))

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, H, Nq, N, D, Dv, K; key and value projection exchanged.
    yield simple("plain", B=2, H=3, Nq=7, N=13, D=5, Dv=3, K=4)
    # The projection of head 0 for all heads, or that of the batch; `scale: null` read as 0.
    yield simple("per_head", {"scale": None}, B=2, H=3, Nq=6, N=11, D=4, Dv=5, K=3, per_head=True)
    yield simple("per_head_one_head", B=3, H=1, Nq=5, N=9, D=4, Dv=6, K=3, per_head=True)
    # A [K,N] that is read as [H,K,N], or the other way round: all sizes are 3 here.
    yield simple("shared_all_sizes_equal", B=3, H=3, N=3, D=3, Dv=3, K=3)
    yield simple("per_head_all_sizes_equal", B=3, H=3, N=3, D=3, Dv=3, K=3, per_head=True)
    # The projection transposed, which fits as K = N.
    yield simple("square", B=2, H=2, N=8, D=4, Dv=3, K=8)

    # One row: softmax of it is 1, and q does not matter.
    yield simple("one_row", B=2, H=2, Nq=5, N=9, D=3, Dv=4, K=1)
    yield simple("one_row_per_head", B=2, H=2, Nq=4, N=7, D=4, Dv=2, K=1, per_head=True)
    # One key: every row of the projections is a multiple of it.
    yield simple("one_key", H=2, Nq=4, N=1, D=3, Dv=2, K=5)
    # The least of everything.
    yield simple("one_element", N=1, D=1, Dv=1, K=1)
    # K taken to be at most N.
    yield simple("more_rows_than_keys", H=2, Nq=6, N=5, D=4, Dv=3, K=12)
    yield simple("more_rows_than_keys_per_head", H=2, Nq=3, N=4, D=3, Dv=5, K=37, per_head=True)

    # Any projection that is not one: with a permutation, the same for keys and values, this is dense attention.
    yield permutation("permutation", same=True, B=2, H=2, Nq=6, N=11, D=4, Dv=3)
    yield permutation("permutation_per_head", same=True, B=2, H=3, Nq=5, N=7, D=4, Dv=5, per_head=True)
    # With two permutations, keys have the values of others: one projection for both.
    yield permutation("two_permutations", same=False, B=2, H=2, Nq=6, N=11, D=4, Dv=3)
    # Rows of the projections that pick keys, and leave the others out: nothing but K = 4 of them is seen.
    yield simple("picks_keys", change=pick, B=2, H=2, Nq=5, N=14, D=4, Dv=3, K=4)

    # 1/sqrt(D) on top of the given scale, 1/sqrt(K), or 1/sqrt(Dv).
    yield simple("custom_scale", {"scale": 0.3}, H=2, Nq=6, N=9, D=7, Dv=3, K=5)
    # `if (scale)`: 0 taken for absent. The answer is the mean of the projected values.
    yield simple("zero_scale", {"scale": 0}, H=2, Nq=5, N=8, D=3, Dv=4, K=6)
    # exp without the maximum subtracted; the maximum taken before the scale.
    yield simple("large_logits", {"scale": 1.875}, change=times_32, B=2, H=2, Nq=8, N=11, D=4, Dv=5, K=6, coarse=True)
    yield simple("negative_scale_per_head", {"scale": -1}, change=times_32, H=2, Nq=9, N=12, D=8, Dv=4, K=5,
                 per_head=True, coarse=True)

    # One token at a time; more queries than keys.
    yield simple("one_query", B=2, H=2, Nq=1, N=37, D=6, Dv=5, K=7)
    yield simple("more_queries", B=2, H=2, Nq=37, N=3, D=5, Dv=4, K=2)
    # D or Dv taken for the other.
    yield simple("wide_heads", H=2, Nq=3, N=7, D=16, Dv=2, K=4)
    yield simple("wide_values_per_head", H=2, Nq=4, N=6, D=2, Dv=16, K=3, per_head=True)

    # A forgotten last tile, or one read beyond its end: of queries, of keys that are summed up, and of rows.
    yield simple("tile_33", B=2, H=2, N=33, D=5, Dv=4, K=8)
    yield simple("tile_65_per_head", H=2, Nq=31, N=65, D=8, Dv=6, K=17, per_head=True)
    yield simple("tile_70", Nq=70, N=70, D=16, Dv=16, K=33)
    yield simple("tile_rows_65", H=2, Nq=5, N=33, D=4, Dv=3, K=65)


# ---- projections that are not drawn from the normal distribution

def permutation(name, same, N, per_head=False, **shape):
    inputs = draw(name, N=N, K=N, per_head=per_head, **shape)
    order = random("linformer", name + " order")
    for key in ("key_projection", "value_projection"):
        if key == "value_projection" and same:
            inputs[key] = inputs["key_projection"].copy()
        elif per_head:
            inputs[key] = np.stack([np.eye(N)[order.permutation(N)] for _ in inputs[key]])
        else:
            inputs[key] = np.eye(N)[order.permutation(N)]
    expected, note = by_linformer(inputs, {}), f" The permutations have the seed of '{name} order'."
    if same:
        q, k, v = (torch.tensor(inputs[x]) for x in ("q", "k", "v"))
        agree(scaled_dot_product_attention(q, k, v), expected["out"])
        note += " torch.nn.functional.scaled_dot_product_attention of q, k and v agreed to 1e-12."
    return Case(name, {}, inputs, expected, origin(inputs, {}) + note)


def pick(inputs):
    for key in ("key_projection", "value_projection"):
        inputs[key] = np.eye(14)[[13, 2, 7, 0]]


def times_32(inputs):
    inputs["q"] *= 32
