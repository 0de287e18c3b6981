"""Golden cases of FlashAttention: dense attention's answers, on inputs that an online softmax over tiles gets wrong.

`expected` comes as in dense.py: PyTorch's own attention in float64, gradients from autograd, an explicit boolean mask.
The tiles meant below are of 32, 64 or 128 queries or keys; where one case serves all three, something happens at 128.
"""
import numpy as np
import torch

import dense
from case import Case, random

PACKAGES = ["numpy", "torch"]
ORIGIN = dense.ORIGIN


# The whole of FlashAttention's forward pass, as the chapters quote it. Every case asserts that it agrees with PyTorch.
def flash_attention(q, k, v, causal=False, scale=None, Bc=64):      # q [B,H,Nq,D], k [B,G,Nk,D], v [B,G,Nk,Dv]
    (B, H, Nq, D), (G, Nk), (lowest, i) = q.shape, k.shape[1:3], (torch.finfo(q.dtype).min, torch.arange(q.shape[2]))
    k, v = (t.repeat_interleave(H // G, dim=1) for t in (k, v))              # [B,H,Nk,D], [B,H,Nk,Dv]
    m, l, O = q.new_full((B, H, Nq, 1), lowest), q.new_zeros(B, H, Nq, 1), q.new_zeros(B, H, Nq, v.shape[3])
    for j in torch.arange(Nk).split(Bc):                                     # a tile of keys: [Nq,Nk] never exists
        S = q @ k[:, :, j].mT * (D ** -0.5 if scale is None else scale)      # [B,H,Nq,Bc]
        S = S.masked_fill(j > i[:, None] + Nk - Nq, -torch.inf) if causal else S
        larger = torch.maximum(m, S.amax(dim=-1, keepdim=True))              # [B,H,Nq,1]: finite, as m starts there
        factor, P = (m - larger).exp(), (S - larger).exp()                   # what was summed up before shrinks
        m, l, O = larger, factor * l + P.sum(dim=-1, keepdim=True), factor * O + P @ v[:, :, j]
    return torch.where(l > 0, O / l, 0), (m + l.log()).squeeze(-1)           # [B,H,Nq,Dv], [B,H,Nq]


def by_torch(inputs, params):
    """What must come out for finite inputs."""
    expected = dense.by_torch(inputs, params)
    q, k, v = (torch.tensor(inputs[name], dtype=torch.float64) for name in ("q", "k", "v"))
    for Bc in (1, 7, 32, 64, 128):
        tiled = flash_attention(q, k, v, params.get("causal", False), params.get("scale"), Bc)
        for ours, name in zip(tiled, ("out", "log_sum_exp")):
            torch.testing.assert_close(ours, torch.as_tensor(expected[name]), rtol=1e-12, atol=1e-12)
    return expected


def draw(name, Nq, Nk, D, Dv, B=1, H=1, G=None, backward=False, dtype=np.float32, coarse=False):
    """As in dense.py: standard normal; `coarse`: multiples of 1/16, which every 16-bit format holds exactly."""
    normal = random("flash_attention", name).standard_normal
    shapes = {"q": (B, H, Nq, D), "k": (B, G or H, Nk, D), "v": (B, G or H, Nk, Dv)}
    if backward:
        shapes["d_out"] = (B, H, Nq, Dv)
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    return {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}


def cases():
    def simple(name, params=None, change=None, **shape):
        inputs = draw(name, **shape)
        if change:
            change(inputs)
        return Case(name, params or {}, inputs, by_torch(inputs, params or {}), ORIGIN)

    causal = {"causal": True}

    # The wrong answer that a case kills stands above it.

    # ---- the running maximum and the rescaling

    # O or l, or both, not rescaled when the maximum of a later tile is larger: here it grows with each 32 keys.
    yield simple("rising_maximum", change=steps(+2), H=2, Nq=5, Nk=131, D=4, Dv=2, coarse=True)
    # Weights of a later tile relative to that tile's own maximum, in the place of the largest so far.
    yield simple("falling_maximum", change=steps(-2), Nq=5, Nk=131, D=4, Dv=3, coarse=True)
    # The same in the backward pass, where log_sum_exp is that of all tiles.
    yield simple("rising_maximum_backward", causal, change=steps(+2), Nq=67, Nk=67, D=4, Dv=2, coarse=True,
                 backward=True)
    # Sums that begin anew where a tile's maximum equals the one so far: the same largest key stands in each tile.
    yield simple("equal_maxima", change=largest_in_each_tile, H=2, Nq=4, Nk=140, D=4, Dv=3, coarse=True)
    # The first tile, or the last, taken for all: one key of the last tile has almost all the weight.
    yield simple("outlier_in_last_tile", change=outlier(131), Nq=5, Nk=133, D=4, Dv=3, coarse=True)
    # inf / inf: a maximum of each tile alone cannot keep the sum of them all finite.
    yield simple("large_logits", {"scale": 1.875}, change=times_16, B=2, Nq=6, Nk=70, D=4, Dv=5, coarse=True)
    yield simple("large_logits_backward", causal | {"scale": 1.875}, change=times_16, Nq=33, Nk=67, D=4, Dv=2,
                 coarse=True, backward=True)
    # The maximum taken before the scale: a negative scale makes it the minimum.
    yield simple("negative_scale", causal | {"scale": -1.0}, change=times_16, Nq=6, Nk=70, D=4, Dv=4, coarse=True)
    # `if (scale)`: 0 taken for absent. The answer is the mean of the values, log(Nk), and d_q = d_k = 0.
    yield simple("zero_scale_backward", {"scale": 0}, Nq=4, Nk=70, D=3, Dv=5, backward=True)
    # Any rounding: equal scores, integer values and a power of two of keys leave nothing to round.
    yield simple("exact_means", causal, change=exact_means, H=2, Nq=1, Nk=128, D=2, Dv=4)

    # ---- tiles of which a row sees nothing, or only scores of -inf

    # exp(-inf - -inf): in a tile in the middle every score is -inf. It must leave the sums as they are.
    yield infinite_keys("infinite_tile", range(128, 256), Nk=290)
    # The same while the maximum so far is -inf as well: 0 · NaN forever after.
    yield infinite_keys("infinite_first_tile", range(0, 128), Nk=150)
    # 0 / 0 at the end, for a sum kept for each tile.
    yield infinite_keys("infinite_last_tile", range(128, 170), Nk=170)
    # Rows of a wide query tile for which the first key tile on the diagonal is masked, going left or right: row 64 of a
    # tile of 128 sees nothing of the keys from 65 on.
    yield simple("causal_wide_query_tile", causal, Nq=130, Nk=130, D=4, Dv=2)
    # Key tiles skipped by the first row of a query tile, not by its last; a mask aligned top left.
    yield simple("causal_more_keys", causal, H=2, Nq=40, Nk=101, D=4, Dv=3)
    # A whole query tile that sees no key, of 32 or 64: NaN, or never written.
    yield blind_rows("causal_blind_tile", poisoned=False, Nq=70, Nk=5)
    # A query tile part of which sees no key; NaN and infinities in q and d_out of those rows are nobody's gradient.
    yield blind_rows("causal_blind_rows_poisoned", poisoned=True, Nq=42, Nk=33)

    # ---- last tiles

    # Rows or keys forgotten, or read beyond the end: one more than a tile of 32, 64 and 128, one less, and none.
    yield simple("tile_32_and_one", causal, Nq=33, Nk=33, D=8, Dv=4)
    yield simple("tile_64_and_one", Nq=65, Nk=65, D=4, Dv=3, backward=True)
    yield simple("tile_128_and_one", Nq=129, Nk=129, D=3, Dv=2)
    yield simple("tile_less_one", causal, Nq=31, Nk=127, D=4, Dv=3)
    yield simple("tile_full", causal, Nq=64, Nk=128, D=4, Dv=3)
    yield simple("one_key", Nq=65, Nk=1, D=3, Dv=2, backward=True)
    yield simple("one_element", B=1, H=1, Nq=1, Nk=1, D=1, Dv=1, backward=True, dtype=np.float64)

    # ---- head dimensions

    # Strips of 32 columns: a whole one more or less, and Dv taken for D.
    yield simple("head_dim_32_values_16", Nq=3, Nk=33, D=32, Dv=16)
    yield simple("head_dim_64_values_128", causal, Nq=2, Nk=7, D=64, Dv=128)
    yield simple("head_dim_96_values_96", Nq=2, Nk=9, D=96, Dv=96)
    yield simple("head_dim_128_values_32", causal, Nq=3, Nk=9, D=128, Dv=32)
    yield simple("head_dim_64_backward", causal, Nq=3, Nk=4, D=64, Dv=64, backward=True)
    yield simple("head_dim_96_values_128_backward", causal, Nq=2, Nk=2, D=96, Dv=128, backward=True)
    # 16-byte loads where rows do not begin at multiples of 16 bytes; columns beyond the end of a strip.
    yield simple("ragged_head_dim", causal, Nq=4, Nk=35, D=37, Dv=5)
    yield simple("ragged_values", Nq=4, Nk=35, D=8, Dv=33)
    yield simple("ragged_head_dim_backward", causal, B=2, Nq=3, Nk=4, D=19, Dv=35, backward=True)
    # A head dimension beyond what a kernel holds in registers.
    yield simple("wide_heads", Nq=2, Nk=3, D=130, Dv=257)

    # ---- heads that share keys, lengths that differ

    # Query head h with key head h % G; a batch or a head that reads another's tiles.
    yield simple("grouped_query", causal, B=2, H=4, G=2, Nq=5, Nk=39, D=4, Dv=3)
    # d_k and d_v of a key tile that are those of one head of the group, or of one query tile.
    yield simple("grouped_query_backward", causal, H=4, G=2, Nq=33, Nk=35, D=2, Dv=1, backward=True)
    yield simple("multi_query_backward", B=2, H=2, G=1, Nq=34, Nk=6, D=3, Dv=2, backward=True)
    # One query and many keys: partial results of parts of the keys, joined in the wrong proportion.
    yield simple("decode", causal, B=2, H=2, G=1, Nq=1, Nk=261, D=3, Dv=2)
    yield simple("decode_rising_maximum", causal, change=steps(+1), H=2, G=1, Nq=1, Nk=300, D=4, Dv=1, coarse=True)
    yield simple("decode_backward", causal, H=2, G=1, Nq=1, Nk=70, D=5, Dv=3, backward=True)
    # Many queries and few keys.
    yield simple("more_queries", Nq=135, Nk=3, D=4, Dv=3)

    # ---- NaN and infinities

    # A NaN swallowed by a maximum of a later tile, or spread to rows of the same tile that do not see the key.
    yield nan_key("causal_nan_key", key=69, Nq=72, Nk=76)
    # One in the first tile that is gone after the next rescaling.
    yield nan_key("causal_nan_first_key", key=0, Nq=3, Nk=70)
    # 0 · NaN: a tile of values multiplied as a whole, with weights of 0 for what is masked.
    yield nan_value("causal_nan_value_backward", key=66, N=68)
    # One query that is NaN makes NaN of its row, and not of its tile.
    yield nan_query("nan_query", query=33, Nq=36, Nk=67)
    # inf - inf over two tiles; inf of a first tile that is rescaled to NaN.
    yield infinite_values("infinite_values")


# ---- changes of drawn inputs: scores stay exact in 16 bits

def steps(size):
    """Scores rise, or fall, from each 32 keys to the next by `size`: D = 4 makes the scale 1/2."""
    def change(inputs):
        inputs["q"][..., 0] = 2
        tile = np.arange(inputs["k"].shape[2]) // 32
        inputs["k"][..., 0] = size * tile if size > 0 else size * (tile - tile[-1])     # from 0 up, or down to 0
    return change


def largest_in_each_tile(inputs):
    inputs["q"][..., 0] = 2
    inputs["k"][:, :, 5] = [8, 1, -1, 0.5]
    inputs["k"][:, :, 6::32] = inputs["k"][:, :, 5:6]


def outlier(key):
    def change(inputs):
        inputs["q"][..., 0] = 2
        inputs["k"][:, :, key, 0] = 8
    return change


def times_16(inputs):
    inputs["q"] *= 16


def exact_means(inputs):
    inputs["q"][:] = 0
    inputs["v"][:] = np.round(inputs["v"] * 4)


# ---- cases of which PyTorch is asked in part

def infinite_keys(name, hidden, Nk):
    inputs = draw(name, Nq=3, Nk=Nk, D=4, Dv=2)
    inputs["q"][..., 1] = np.abs(inputs["q"][..., 1]) + 0.25
    others = inputs | {x: np.delete(inputs[x], hidden, axis=2) for x in ("k", "v")}
    inputs["k"][:, :, hidden, 1] = -np.inf                      # a score of -inf in every row
    return Case(name, {}, inputs, by_torch(others, {}),
                f"{ORIGIN} Keys {hidden.start} to {hidden.stop - 1} have a score of -inf, thus weight 0, in every row; "
                "PyTorch was given the other keys.")


def blind_rows(name, poisoned, Nq, Nk):
    inputs = draw(name, H=2, G=1, Nq=Nq, Nk=Nk, D=2, Dv=3, backward=True)
    expected = by_torch(inputs, {"causal": True})
    blind = Nq - Nk
    if poisoned:
        inputs["q"][:, :, 1:blind], inputs["q"][:, :, 0, 1] = np.nan, np.inf
        inputs["d_out"][:, :, 1:blind], inputs["d_out"][:, :, 0, 2] = np.nan, -np.inf
    return Case(name, {"causal": True}, inputs, expected,
                f"{ORIGIN} Queries 0 to {blind - 1} see no key: PyTorch was not asked about them; out 0, log_sum_exp "
                "-inf and d_q 0 are filled in by definition." + (
                    " Their q and d_out were finite for PyTorch; NaN and infinities were put there afterwards."
                    if poisoned else ""))


def nan_key(name, key, Nq, Nk):
    inputs = draw(name, H=2, Nq=Nq, Nk=Nk, D=3, Dv=2)
    expected = by_torch(inputs, {"causal": True})
    inputs["k"][0, 1, key, 2] = np.nan
    first = max(key - (Nk - Nq), 0)                             # the first query that sees it
    expected["out"][0, 1, first:] = expected["log_sum_exp"][0, 1, first:] = np.nan
    return Case(name, {"causal": True}, inputs, expected,
                f"{ORIGIN} PyTorch had a finite k[0,1,{key},2]. NaN was put there afterwards, and into the rows of "
                f"head 1 that see it: {first} and later.")


def nan_value(name, key, N):
    inputs = draw(name, H=2, Nq=N, Nk=N, D=1, Dv=2, backward=True)
    expected = by_torch(inputs, {"causal": True})
    inputs["v"][0, 1, key, 1] = np.nan
    expected["out"][0, 1, key:, 1] = np.nan                     # one column; log_sum_exp and d_v do not depend on v
    expected["d_q"][0, 1, key:] = np.nan                        # through rowsum(d_out * out)
    expected["d_k"][0, 1] = np.nan                              # the last query sees every key
    return Case(name, {"causal": True}, inputs, expected,
                f"{ORIGIN} PyTorch had a finite v[0,1,{key},1]. NaN was put there afterwards, and, in head 1, into "
                f"what it reaches: column 1 of out from row {key}, d_q from row {key}, all of d_k. log_sum_exp and d_v "
                "stay finite.")


def nan_query(name, query, Nq, Nk):
    inputs = draw(name, H=2, Nq=Nq, Nk=Nk, D=3, Dv=2)
    expected = by_torch(inputs, {})
    inputs["q"][0, 0, query, 1] = expected["out"][0, 0, query] = expected["log_sum_exp"][0, 0, query] = np.nan
    return Case(name, {}, inputs, expected,
                f"{ORIGIN} PyTorch had a finite q[0,0,{query},1]. NaN was put there afterwards, and into its row.")


def infinite_values(name):
    inputs = draw(name, Nq=5, Nk=135, D=4, Dv=4)
    expected = by_torch(inputs, {})
    inputs["v"][:, :, 2, 0] = expected["out"][..., 0] = np.inf
    inputs["v"][:, :, 131, 1] = expected["out"][..., 1] = -np.inf
    inputs["v"][:, :, 1, 2], inputs["v"][:, :, 130, 2] = np.inf, -np.inf
    expected["out"][..., 2] = np.nan                            # inf - inf
    return Case(name, {}, inputs, expected,
                f"{ORIGIN} PyTorch had finite values. Infinite ones were put in afterwards: column 0 of out is inf, "
                "column 1 -inf, column 2 inf - inf = NaN, column 3 stays.")
