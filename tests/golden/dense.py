"""Golden cases of dense attention.

`expected` comes from PyTorch's own attention, in float64, and its gradients from autograd. The mask is always an
explicit boolean tensor: PyTorch's `is_causal=True` is aligned top left, this project's masks bottom right.
"""
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad, scaled_dot_product_attention

from case import Case, random

PACKAGES = ["numpy", "torch"]
ORIGIN = ("out: torch.nn.functional.scaled_dot_product_attention, MATH backend, float64, explicit boolean mask; "
          "log_sum_exp: torch.logsumexp of scores formed by themselves; gradients, if any: torch.autograd.")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of dense attention, as the chapters quote it. Every case below asserts that it agrees with PyTorch.
def dense_attention(q, k, v, causal=False, scale=None):     # q [B,H,Nq,D], k [B,G,Nk,D], v [B,G,Nk,Dv]
    (H, Nq, D), (G, Nk) = q.shape[1:], k.shape[1:3]
    k, v = (t.repeat_interleave(H // G, dim=1) for t in (k, v))              # [B,H,Nk,D], [B,H,Nk,Dv]
    scores = q @ k.mT * (D ** -0.5 if scale is None else scale)              # [B,H,Nq,Nk]
    if causal:                                                               # query i sees keys j <= i + Nk - Nq
        visible = torch.ones(Nq, Nk, dtype=torch.bool).tril(Nk - Nq)         # [Nq,Nk]
        scores = scores.masked_fill(~visible, -torch.inf)
    log_sum_exp = scores.logsumexp(dim=-1)                                   # [B,H,Nq]
    lowest = torch.finfo(scores.dtype).min                                   # no key in sight: exp(-inf) = 0, not NaN
    weights = (scores - log_sum_exp.clamp(min=lowest)[..., None]).exp()      # [B,H,Nq,Nk], rows sum to 1
    return weights @ v, log_sum_exp                                          # [B,H,Nq,Dv], [B,H,Nq]


def by_torch(inputs, params):
    """What must come out for finite inputs."""
    t = {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in inputs.items()}
    q, k, v = t["q"], t["k"], t["v"]
    causal, scale = params.get("causal", False), params.get("scale")
    Nq, Nk = q.shape[2], k.shape[2]
    i, j = torch.arange(Nq)[:, None], torch.arange(Nk)[None, :]
    visible = (j - i <= Nk - Nq) if causal else torch.ones(Nq, Nk, dtype=torch.bool)

    # Rows that see no key are kept from PyTorch (softmax of nothing is 0 / 0) and filled in by hand.
    blind = int((~visible.any(dim=1)).sum())                                 # they are the first ones
    with sdpa_kernel(SDPBackend.MATH):
        out = scaled_dot_product_attention(q[:, :, blind:], k, v, attn_mask=visible[blind:], scale=scale,
                                           enable_gqa=True)
    out = pad(out, (0, 0, blind, 0), value=0.0)                              # [B,H,Nq,Dv]
    log_sum_exp = pad(log_sum_exp_of(q[:, :, blind:], k, visible[blind:], scale), (blind, 0), value=-torch.inf)

    expected = {"out": out, "log_sum_exp": log_sum_exp}
    if "d_out" in t:
        gradients = torch.autograd.grad(out, (q, k, v), t["d_out"])          # 0 for the blind rows: they are cut off
        expected |= dict(zip(("d_q", "d_k", "d_v"), gradients))

    # The quoted version must agree.
    for ours, theirs in zip(dense_attention(q, k, v, causal, scale), (out, log_sum_exp)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    return {name: tensor.detach().numpy().copy() for name, tensor in expected.items()}


def log_sum_exp_of(q, k, visible, scale):
    """[B,H,Nq], from scores that owe nothing to `dense_attention`: heads as [G, H/G], the scale after the sum."""
    B, H, Nq, D = q.shape
    groups = q.reshape(B, k.shape[1], -1, Nq, D)                             # [B,G,H/G,Nq,D]
    scores = torch.einsum("bghid,bgjd->bghij", groups, k).reshape(B, H, Nq, -1)
    scores = scores / D ** 0.5 if scale is None else scores * scale
    return torch.logsumexp(torch.where(visible, scores, -torch.inf), dim=-1)


def draw(name, B, H, Nq, Nk, D, Dv, G=None, backward=False, dtype=np.float64, coarse=False):
    """Standard normal inputs, different in every batch and head.

    `coarse` rounds to multiples of 1/16, which every 16-bit format holds exactly up to |x| = 8 (and times a power of
    two). For the cases with large scores: there, the rounding of the inputs alone would exceed any sensible bound.
    """
    normal = random("dense", name).standard_normal
    shapes = {"q": (B, H, Nq, D), "k": (B, G or H, Nk, D), "v": (B, G or H, Nk, Dv)}
    if backward:
        shapes["d_out"] = (B, H, Nq, Dv)
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    return {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}


def cases():
    def simple(name, params, **shape):
        inputs = draw(name, **shape)
        return Case(name, params, inputs, by_torch(inputs, params), ORIGIN)

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, H, Nq, Nk, D, Dv.
    yield simple("plain", {}, B=2, H=3, Nq=7, Nk=13, D=5, Dv=3)
    yield simple("plain_backward", {}, B=2, H=3, Nq=6, Nk=11, D=5, Dv=7, backward=True)
    # `scale: null` read as 0; `causal: false` read as true; float32 files read as float64.
    yield simple("plain_float32", {"causal": False, "scale": None}, B=2, H=2, Nq=9, Nk=6, D=6, Dv=10, dtype=np.float32)
    yield simple("plain_float32_backward", {}, B=2, H=2, Nq=5, Nk=8, D=6, Dv=4, backward=True, dtype=np.float32)
    # d_q and d_k that are not exactly 0 although softmax of one score is constant.
    yield simple("one_element", {}, B=1, H=1, Nq=1, Nk=1, D=1, Dv=1, backward=True)
    # A head dimension beyond what a kernel holds in registers; D and Dv not multiples of anything.
    yield simple("wide_heads", {}, B=1, H=2, Nq=3, Nk=4, D=130, Dv=129, dtype=np.float32)

    # j < i in the place of j <= i.
    yield simple("causal", {"causal": True}, B=1, H=2, Nq=9, Nk=9, D=4, Dv=4)
    # A mask aligned top left.
    yield simple("causal_more_keys", {"causal": True}, B=2, H=2, Nq=5, Nk=12, D=4, Dv=3)
    yield simple("causal_more_keys_backward", {"causal": True}, B=2, H=2, Nq=6, Nk=11, D=3, Dv=5, backward=True)
    yield simple("causal_float32_backward", {"causal": True}, B=2, H=2, Nq=10, Nk=10, D=5, Dv=4, backward=True,
                 dtype=np.float32)
    # NaN, or the mean of all values, in the 7 first rows, which see no key.
    yield blind_rows("causal_more_queries_backward", poisoned=False)
    # 0 * NaN: the same rows have NaN and infinite q and d_out, which belong to nobody's gradient.
    yield blind_rows("causal_more_queries_poisoned", poisoned=True)
    # One token at a time, as in generation: the only query is the last, and sees every key.
    yield simple("decode", {"causal": True}, B=3, H=4, G=2, Nq=1, Nk=37, D=6, Dv=5)

    # Query head h with key head h % G in the place of h / (H/G).
    yield simple("grouped_query", {}, B=2, H=6, G=2, Nq=5, Nk=7, D=4, Dv=3)
    # d_k and d_v of the last head of a group, in the place of the sum over the group.
    yield simple("grouped_query_backward", {"causal": True}, B=2, H=6, G=2, Nq=5, Nk=7, D=4, Dv=3, backward=True)
    yield simple("multi_query_backward", {}, B=2, H=4, G=1, Nq=6, Nk=5, D=3, Dv=4, backward=True, dtype=np.float32)

    # 1/sqrt(D) on top of the given scale, or a d_q and d_k without the scale.
    yield simple("custom_scale_backward", {"scale": 0.3}, B=1, H=2, Nq=6, Nk=7, D=7, Dv=3, backward=True)
    # `if (scale)`: 0 taken for absent. The answer is the mean of the values, log(Nk), and d_q = d_k = 0.
    yield simple("zero_scale_backward", {"scale": 0}, B=1, H=2, Nq=4, Nk=6, D=3, Dv=5, backward=True)
    # The maximum taken before the scale: a negative scale makes it the minimum, and exp overflows.
    yield times_16("negative_scale", {"scale": -1.0, "causal": True}, B=1, H=2, Nq=9, Nk=12, D=8, Dv=4)
    # exp without the maximum subtracted: scores of 180 overflow float32.
    yield times_16("large_logits", {"scale": 1.875}, B=2, H=2, Nq=8, Nk=11, D=4, Dv=5)
    # An online softmax that does not rescale when key 67, in a later tile, is the largest by far.
    yield outlier_key("outlier_key", {})
    # A running maximum that drops a score equal to it; all keys are the same, so the answer is the mean of the values.
    yield equal_scores("equal_scores", {})

    # A forgotten last tile, or one read beyond its end: it has one row and one key, for tiles of 8, 16, 32 and 64;
    # in the backward case, one row and three keys.
    yield simple("tile_crossing", {"causal": True}, B=1, H=2, G=1, Nq=65, Nk=65, D=64, Dv=64, dtype=np.float32)
    yield simple("tile_crossing_backward", {"causal": True}, B=1, H=2, G=1, Nq=33, Nk=67, D=9, Dv=6, backward=True)

    # A NaN swallowed; or, with a mask that is added, spread to rows that do not see the key: NaN - inf is NaN.
    yield nan_key("causal_nan_key", {"causal": True})
    # The same for a mask that is multiplied: 0 * NaN is NaN.
    yield nan_value("causal_nan_value_backward", {"causal": True})
    # NaN from -inf - -inf, or from 0 * inf, for a key whose weight is 0.
    yield infinite_key("infinite_key", {})
    # Infinite values clipped, or turned into NaN.
    yield infinite_values("infinite_values", {})


def blind_rows(name, poisoned):
    params = {"causal": True}
    inputs = draw(name, B=2, H=2, Nq=11, Nk=4, D=3, Dv=5, backward=True)
    expected = by_torch(inputs, params)
    if poisoned:
        inputs["q"][:, :, 1:7], inputs["q"][:, :, 0, 1] = np.nan, np.inf
        inputs["d_out"][:, :, 1:7], inputs["d_out"][:, :, 0, 2] = np.nan, -np.inf
    return Case(name, params, inputs, expected,
                f"{ORIGIN} Queries 0 to 6 see no key: PyTorch was not asked about them; out 0, log_sum_exp -inf and "
                "d_q 0 are filled in by definition." + (
                    " Their q and d_out were finite for PyTorch; NaN and infinities were put there afterwards."
                    if poisoned else ""))


def times_16(name, params, **shape):
    inputs = draw(name, coarse=True, **shape)
    inputs["q"] *= 16
    return Case(name, params, inputs, by_torch(inputs, params), ORIGIN)


def outlier_key(name, params):
    inputs = draw(name, B=1, H=2, Nq=6, Nk=70, D=4, Dv=3, coarse=True)
    inputs["k"][:, :, 67] *= 128
    return Case(name, params, inputs, by_torch(inputs, params), ORIGIN)


def equal_scores(name, params):
    inputs = draw(name, B=2, H=2, Nq=4, Nk=9, D=4, Dv=3)
    inputs["k"][:] = inputs["k"][:, :, :1]
    return Case(name, params, inputs, by_torch(inputs, params), ORIGIN)


def nan_key(name, params):
    inputs = draw(name, B=1, H=2, Nq=6, Nk=8, D=4, Dv=3)
    expected = by_torch(inputs, params)
    inputs["k"][0, 1, 5, 2] = np.nan                            # query i sees it from i = 5 - (8 - 6) = 3
    expected["out"][0, 1, 3:] = np.nan
    expected["log_sum_exp"][0, 1, 3:] = np.nan
    return Case(name, params, inputs, expected,
                f"{ORIGIN} PyTorch had a finite k[0,1,5,2]. NaN was put there afterwards, and into the rows of head 1 "
                "that see key 5: 3 and later.")


def nan_value(name, params):
    inputs = draw(name, B=1, H=2, Nq=7, Nk=7, D=4, Dv=3, backward=True)
    expected = by_torch(inputs, params)
    inputs["v"][0, 1, 4, 2] = np.nan                            # query i sees it from i = 4
    expected["out"][0, 1, 4:, 2] = np.nan                       # one column; log_sum_exp and d_v do not depend on v
    expected["d_q"][0, 1, 4:] = np.nan                          # through rowsum(d_out * out)
    expected["d_k"][0, 1] = np.nan                              # the last query sees every key
    return Case(name, params, inputs, expected,
                f"{ORIGIN} PyTorch had a finite v[0,1,4,2]. NaN was put there afterwards, and, in head 1, into what it "
                "reaches: column 2 of out from row 4, d_q from row 4, all of d_k. log_sum_exp and d_v stay finite.")


def infinite_key(name, params):
    inputs = draw(name, B=1, H=2, Nq=5, Nk=7, D=4, Dv=3)
    inputs["q"][..., 1] = np.abs(inputs["q"][..., 1]) + 0.25
    hidden = inputs | {x: np.delete(inputs[x], 3, axis=2) for x in ("k", "v")}
    inputs["k"][:, :, 3, 1] = -np.inf                           # a score of -inf in every row
    return Case(name, params, inputs, by_torch(hidden, params),
                f"{ORIGIN} Key 3 has a score of -inf, thus weight 0, in every row; PyTorch was given the other keys.")


def infinite_values(name, params):
    inputs = draw(name, B=1, H=2, Nq=5, Nk=7, D=4, Dv=4)
    expected = by_torch(inputs, params)
    inputs["v"][:, :, 2, 0] = expected["out"][..., 0] = np.inf
    inputs["v"][:, :, 5, 1] = expected["out"][..., 1] = -np.inf
    inputs["v"][:, :, 1, 2], inputs["v"][:, :, 6, 2] = np.inf, -np.inf
    expected["out"][..., 2] = np.nan                            # inf - inf
    return Case(name, params, inputs, expected,
                f"{ORIGIN} PyTorch had finite values. Infinite ones were put in afterwards: column 0 of out is inf, "
                "column 1 -inf, column 2 inf - inf = NaN, column 3 stays.")
