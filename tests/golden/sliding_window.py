"""Golden cases of sliding-window attention, with and without attention sinks.

`expected` comes from PyTorch's own attention, in float64, with a boolean mask filled in from a set for each query; its
gradients come from autograd. Others are asked as well, and must agree:

    transformers     its mask of a sliding window, or'ed with one of the first keys, is the mask; its attention of
                     Mistral models gives the same out, and the same gradients
    flex_attention   of PyTorch, with the mask as a function of two positions: out and log_sum_exp
    local-attention  where it can be asked: as many queries as keys, G = H, 1 < W <= N, no sinks

They do not count alike. A window of W keys that includes the query's own, as here, is transformers'
`sliding_window = W`, and `window_size = W - 1` of local-attention, which adds the own key.
"""
import types
import warnings

import numpy as np
import torch
from local_attention import LocalAttention
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import masking_utils
from transformers.models.mistral import modeling_mistral

import dense
from case import Case, random
from grouped_query import agree, all_in_float64

PACKAGES = ["numpy", "torch", "transformers", "local-attention"]
ORIGIN = ("out: torch.nn.functional.scaled_dot_product_attention, MATH backend, float64, explicit boolean mask from "
          "the set of each query; log_sum_exp: torch.logsumexp of scores formed by themselves; gradients, if any: "
          "torch.autograd. To 1e-12 agreed: torch.nn.attention.flex_attention with a mask_mod (out, log_sum_exp); "
          "transformers.models.mistral.modeling_mistral.eager_attention_forward, in float64 (out, gradients), whose "
          "mask comes from transformers.masking_utils.sliding_window_causal_mask_function(window)")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of sliding-window attention, as the chapters quote it. Every case below asserts that it agrees.
def sliding_window(q, k, v, window, sinks=0, scale=None):            # q [B,H,Nq,D], k [B,G,Nk,D], v [B,G,Nk,Dv]
    (H, Nq, D), (G, Nk) = q.shape[1:], k.shape[1:3]
    k, v = (t.repeat_interleave(H // G, dim=1) for t in (k, v))              # [B,H,Nk,D], [B,H,Nk,Dv]
    scores = q @ k.mT * (D ** -0.5 if scale is None else scale)              # [B,H,Nq,Nk]
    age = torch.arange(Nk - Nq, Nk)[:, None] - torch.arange(Nk)              # [Nq,Nk]: 0 is the query's own key
    visible = (age >= 0) & ((age < window) | (torch.arange(Nk) < sinks))     # W keys, own included, and the first ones
    scores = scores.masked_fill(~visible, -torch.inf)
    log_sum_exp = scores.logsumexp(dim=-1)                                   # [B,H,Nq]
    lowest = torch.finfo(scores.dtype).min                                   # no key in sight: exp(-inf) = 0, not NaN
    weights = (scores - log_sum_exp.clamp(min=lowest)[..., None]).exp()      # [B,H,Nq,Nk], rows sum to 1
    return weights @ v, log_sum_exp                                          # [B,H,Nq,Dv], [B,H,Nq]


def by_sets(inputs, visible, scale=None):
    """What must come out for finite inputs of attention where query i sees the keys visible[i], a set. Sparse
    attention of other patterns uses it as well."""
    t = {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in inputs.items()}
    q, k, v = t["q"], t["k"], t["v"]
    mask = torch.zeros(q.shape[2], k.shape[2], dtype=torch.bool)
    for i, keys in enumerate(visible):
        mask[i, sorted(keys)] = True

    # Rows that see no key are kept from PyTorch (softmax of nothing is 0 / 0) and filled in by hand.
    blind = next((i for i, keys in enumerate(visible) if keys), len(visible))
    assert all(visible[blind:]), "only the first queries may see nothing"
    with sdpa_kernel(SDPBackend.MATH):
        out = scaled_dot_product_attention(q[:, :, blind:], k, v, attn_mask=mask[blind:], scale=scale, enable_gqa=True)
    out = pad(out, (0, 0, blind, 0), value=0.0)                              # [B,H,Nq,Dv]
    log_sum_exp = pad(dense.log_sum_exp_of(q[:, :, blind:], k, mask[blind:], scale), (blind, 0), value=-torch.inf)

    expected = {"out": out, "log_sum_exp": log_sum_exp}
    if "d_out" in t:
        expected |= dict(zip(("d_q", "d_k", "d_v"), torch.autograd.grad(out, (q, k, v), t["d_out"])))
    return {name: tensor.detach().numpy().copy() for name, tensor in expected.items()}


def window_sets(Nq, Nk, window, sinks):
    """For each query, the keys that it sees: it stands at the position of one of the last Nq keys."""
    sets = []
    for position in range(Nk - Nq, Nk):
        past = range(position + 1)
        sets.append(set(past[-window:]) | set(past[:sinks]))
    return sets


def by_torch(inputs, params):
    """What must come out for finite inputs. Everybody else must agree."""
    window, sinks, scale = params["window"], params.get("sinks", 0), params.get("scale")
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    q, k, v = t["q"], t["k"], t["v"]
    Nq, Nk = q.shape[2], k.shape[2]
    sets = window_sets(Nq, Nk, window, sinks)
    expected = by_sets(inputs, sets, scale)

    for ours, name in zip(sliding_window(q, k, v, window, sinks, scale), ("out", "log_sum_exp")):
        agree(ours, expected[name])
    for theirs, name in zip(by_flex(q, k, v, lambda i, j: in_window(i + Nk - Nq, j, window, sinks), scale),
                            ("out", "log_sum_exp")):
        agree(theirs, expected[name])
    by_mistral(t, window, sinks, scale, expected)
    if local_attention_can(inputs, window, sinks):
        layer = LocalAttention(window_size=window - 1, causal=True, look_backward=1, exact_windowsize=True,
                               autopad=True, use_rotary_pos_emb=False, scale=scale)
        agree(layer(q, k, v), expected["out"])
    return expected


def in_window(i, j, window, sinks):
    return (j <= i) & ((i - j < window) | (j < sinks))


def by_flex(q, k, v, sees, scale=None):
    """`out` and log_sum_exp; sees(i, j) may be asked for tensors of positions."""
    mask = create_block_mask(lambda b, h, i, j: sees(i, j), None, None, q.shape[2], k.shape[2], device="cpu")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")     # it would rather be compiled
        out, others = flex_attention(q, k, v, block_mask=mask, scale=scale, enable_gqa=True,
                                     return_aux=AuxRequest(lse=True))
    return out, others.lse


def by_mistral(t, window, sinks, scale, expected):
    """Asserts that transformers agrees: of `out`, and of the gradients if there are any."""
    q, k, v = (t[name].clone().requires_grad_() for name in ("q", "k", "v"))
    Nq, Nk = q.shape[2], k.shape[2]
    blind = max(Nq - Nk, 0)                                                  # not asked about
    sees = masking_utils.sliding_window_causal_mask_function(window)
    if sinks:
        first = masking_utils.and_masks(masking_utils.causal_mask_function, lambda b, h, i, j: j < sinks)
        sees = masking_utils.or_masks(sees, first)
    mask = masking_utils.sdpa_mask(batch_size=1, q_length=Nq - blind, kv_length=Nk, q_offset=Nk - Nq + blind,
                                   mask_function=sees, allow_is_causal_skip=False)           # [1,1,Nq-blind,Nk]
    layer = types.SimpleNamespace(num_key_value_groups=q.shape[1] // k.shape[1], training=False)
    with all_in_float64(modeling_mistral):
        out, _ = modeling_mistral.eager_attention_forward(
            layer, q[:, :, blind:], k, v, torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf),
            scaling=q.shape[3] ** -0.5 if scale is None else scale)
    out = pad(out.transpose(1, 2), (0, 0, blind, 0))                         # theirs is [B,Nq,H,Dv]
    agree(out.detach(), expected["out"])
    if "d_out" in t:
        for gradient, name in zip(torch.autograd.grad(out, (q, k, v), t["d_out"]), ("d_q", "d_k", "d_v")):
            agree(gradient, expected[name])


def local_attention_can(inputs, window, sinks):
    return inputs["q"].shape[:3] == inputs["k"].shape[:3] and 1 < window <= inputs["q"].shape[2] and not sinks


def origin(inputs, params):
    text = ORIGIN
    if params.get("sinks"):
        text += ", or_masks'ed with one of the first keys"
    if local_attention_can(inputs, params["window"], params.get("sinks", 0)):
        text += "; local_attention.LocalAttention(window_size=window - 1, exact_windowsize=True) (out)"
    return text + "."


def draw(name, B, H, Nq, D, Dv, Nk=None, G=None, backward=False, dtype=np.float64, coarse=False):
    """As in dense.py: standard normal; `coarse`: multiples of 1/16, which every 16-bit format holds exactly."""
    normal = random("sliding_window", name).standard_normal
    shapes = {"q": (B, H, Nq, D), "k": (B, G or H, Nk or Nq, D), "v": (B, G or H, Nk or Nq, Dv)}
    if backward:
        shapes["d_out"] = (B, H, Nq, Dv)
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    return {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}


def cases():
    def simple(name, window, sinks=None, scale=..., times=1, **shape):
        params = {"window": window} | ({} if sinks is None else {"sinks": sinks})
        params |= {} if scale is ... else {"scale": scale}
        inputs = draw(name, coarse=times != 1, **shape)
        inputs["q"] *= times
        return Case(name, params, inputs, by_torch(inputs, params), origin(inputs, params))

    # The wrong answer that a case kills stands above it.

    # A window of W + 1 keys, or of W - 1; any exchange of two of B, H, N, D, Dv.
    yield simple("plain", 4, B=2, H=3, Nq=11, D=5, Dv=3)
    # d_k and d_v gathered from W + 1 queries, or from those before the key.
    yield simple("plain_backward", 4, B=2, H=2, Nq=9, D=4, Dv=5, backward=True)
    # `scale: null` and `sinks: 0` taken for something else; float32 files read as float64.
    yield simple("plain_float32", 5, 0, None, B=2, H=2, Nq=13, D=6, Dv=4, dtype=np.float32)
    yield simple("plain_float32_backward", 3, B=1, H=2, Nq=10, D=4, Dv=6, backward=True, dtype=np.float32)

    # A window without the own key: here it is all there is; out = v, and d_q = d_k = 0.
    yield simple("window_one_backward", 1, B=2, H=2, Nq=6, D=3, Dv=4, backward=True)
    # The only pair that is out of the window, (N - 1, 0), is seen after all.
    yield simple("window_all_but_one", 8, B=1, H=2, Nq=9, D=4, Dv=3)
    # The last query does not see key 0: i - W < j with i - W = -1 in unsigned numbers.
    yield simple("window_all", 9, B=1, H=2, Nq=9, D=4, Dv=3)
    # A window that is longer than the sequence cut to N - 1, or positions before 0 read.
    yield simple("window_longer_backward", 50, B=1, H=2, Nq=7, D=3, Dv=5, backward=True)
    # 2^31 - 1 keys: i + W overflows.
    yield simple("window_huge", 2 ** 31 - 1, B=1, H=1, Nq=6, D=3, Dv=2)
    yield simple("one_element", 1, B=1, H=1, Nq=1, D=1, Dv=1, backward=True)

    # Sinks forgotten, or the window shifted by them.
    yield simple("sinks", 3, 2, B=2, H=2, Nq=13, D=4, Dv=3)
    # d_k and d_v of a sink from the queries of its own window only.
    yield simple("sinks_backward", 4, 3, B=1, H=3, Nq=14, D=4, Dv=3, backward=True)
    # A sink that the window still covers counted twice; W + sinks = N: all is seen, the answer is dense attention's.
    yield simple("sinks_meet_window_backward", 5, 4, B=1, H=2, Nq=9, D=3, Dv=4, backward=True)
    # One key between sinks and window, seen by the last query.
    yield simple("sinks_gap_of_one", 5, 3, B=1, H=2, Nq=9, D=3, Dv=4)
    # More sinks than keys: a query sees sinks of the future, or memory beyond the keys is read.
    yield simple("sinks_more_than_keys", 2, 40, B=1, H=2, Nq=7, D=4, Dv=3)
    # Query 0 is its own sink and its own window.
    yield simple("sinks_window_one", 1, 1, B=2, H=2, Nq=8, D=4, Dv=3)

    # Query head h with key head h % G in the place of h / (H/G).
    yield simple("grouped_query", 3, B=2, H=6, G=2, Nq=8, D=4, Dv=3)
    # d_k and d_v of the last head of a group, in the place of the sum over the group.
    yield simple("grouped_query_backward", 3, 1, B=2, H=6, G=2, Nq=7, D=3, Dv=4, backward=True)
    yield simple("multi_query_backward", 4, 2, B=1, H=4, G=1, Nq=9, D=4, Dv=3, backward=True, dtype=np.float32)

    # A mask aligned top left: query i at position i, not i + Nk - Nq.
    yield simple("more_keys", 4, B=2, H=2, Nq=5, Nk=13, D=4, Dv=3)
    yield simple("more_keys_backward", 4, 2, B=2, H=2, Nq=5, Nk=12, D=3, Dv=5, backward=True)
    # One token at a time: the only query is the last; the window in the middle of a tile of keys.
    yield simple("decode", 10, B=3, H=4, G=2, Nq=1, Nk=37, D=6, Dv=5)
    yield simple("decode_sinks", 10, 4, B=2, H=4, G=2, Nq=1, Nk=37, D=6, Dv=5)
    # NaN, or the mean of all values, in the first rows, which see no key.
    yield blind_rows("more_queries_backward")

    # 1/sqrt(D) on top of the given scale, or a d_q and d_k without the scale.
    yield simple("custom_scale_backward", 3, scale=0.3, B=1, H=2, Nq=8, D=7, Dv=3, backward=True)
    # `if (scale)`: 0 taken for absent. The answer is the mean of the last W values; log_sum_exp is log(min(i + 1, W)).
    yield simple("zero_scale_backward", 4, scale=0, B=1, H=2, Nq=7, D=3, Dv=5, backward=True)
    # exp without the maximum subtracted; the maximum taken before the scale.
    yield simple("large_logits", 5, 1, 1.875, 16, B=2, H=2, Nq=12, D=4, Dv=5)
    yield simple("negative_scale", 4, scale=-1, times=16, B=1, H=2, Nq=12, D=8, Dv=4)
    # The maximum over hidden keys too: key 3 is the largest by far, and what left the window is exp(-thousands) = 0.
    yield outlier_key("outlier_leaves_window")

    # A forgotten last tile, or one read beyond its end; a first tile of keys that is not aligned.
    yield simple("tile_65", 33, B=1, H=2, Nq=65, D=8, Dv=6, dtype=np.float32)
    yield simple("tile_70_sinks_backward", 17, 3, B=1, H=2, G=1, Nq=70, D=5, Dv=4, backward=True, dtype=np.float32)
    # Sinks in a tile of their own, skipped with the tiles before the window; the window ends with a tile, W = 16.
    yield simple("tile_64_sinks", 16, 18, B=1, H=1, Nq=64, D=6, Dv=5)
    yield simple("tile_more_keys_backward", 12, B=1, H=2, Nq=19, Nk=67, D=4, Dv=3, backward=True, dtype=np.float32)

    # 0 * NaN: what nobody sees is NaN or infinite, q and d_out of the rows that see nothing too.
    yield poisoned("poisoned_keys", 3, None, None)
    yield poisoned("poisoned_keys_sinks_backward", 3, 2, True)
    yield poisoned_blind_rows("poisoned_blind_rows_backward")
    # A NaN swallowed; or, with a mask that is added or multiplied, kept after its key has left the window.
    yield nan_key("nan_key", 3, 0, 4)
    yield nan_key("nan_sink", 3, 2, 1)
    yield nan_value("nan_value_backward")
    # Infinite values clipped, turned into NaN, or seen from outside.
    yield infinite_values("infinite_values")


def blind_rows(name):
    inputs, params = draw(name, B=2, H=2, Nq=10, Nk=6, D=3, Dv=5, backward=True), {"window": 3, "sinks": 1}
    return Case(name, params, inputs, by_torch(inputs, params), origin(inputs, params) + (
        " Queries 0 to 3 see no key: nobody was asked about them but flex_attention, which agrees; out 0, log_sum_exp "
        "-inf and d_q 0 are filled in by definition."))


def poisoned_blind_rows(name):
    case = blind_rows(name)
    for key in ("q", "d_out"):
        case.inputs[key][:, :, :3], case.inputs[key][:, :, 3, 1] = np.nan, np.inf
    return case._replace(origin=case.origin + " Their q and d_out were finite for everybody; NaN and infinities were "
                                              "put there afterwards.")


def outlier_key(name):
    inputs, params = draw(name, B=1, H=2, Nq=20, D=4, Dv=3, coarse=True), {"window": 6}
    inputs["q"][..., 0] = np.abs(inputs["q"][..., 0]) + 1
    inputs["k"][:, :, 3] = [2048, 0, 0, 0]                                   # a score of 1024 and more
    return Case(name, params, inputs, by_torch(inputs, params), origin(inputs, params))


def poisoned(name, window, sinks, backward):
    """4 queries and 14 keys: keys from `sinks` to 10 - window are seen by nobody."""
    params = {"window": window} | ({"sinks": sinks} if sinks else {})
    inputs = draw(name, B=2, H=2, Nq=4, Nk=14, D=4, Dv=3, backward=bool(backward))
    expected = by_torch(inputs, params)
    hidden = sorted(set(range(14)) - set().union(*window_sets(4, 14, window, sinks or 0)))
    inputs["k"][:, :, hidden], inputs["v"][:, :, hidden] = np.nan, np.nan
    inputs["k"][:, :, hidden[1::3]], inputs["v"][:, :, hidden[1::3]] = np.inf, -np.inf
    return Case(name, params, inputs, expected, origin(inputs, params) + (
        f" Keys {hidden[0]} to {hidden[-1]} are seen by nobody. They were finite; NaN and infinities were put there "
        "afterwards."))


def nan_key(name, window, sinks, key):
    params = {"window": window} | ({"sinks": sinks} if sinks else {})
    inputs = draw(name, B=1, H=2, Nq=9, D=4, Dv=3)
    expected = by_torch(inputs, params)
    inputs["k"][0, 1, key, 2] = np.nan
    rows = seeing(window_sets(9, 9, window, sinks), key)
    expected["out"][0, 1, rows] = expected["log_sum_exp"][0, 1, rows] = np.nan
    return Case(name, params, inputs, expected, origin(inputs, params) + (
        f" k[0,1,{key},2] was finite. NaN was put there afterwards, and into the rows of head 1 that see it: "
        f"{rows[0]} to {rows[-1]}."))


def nan_value(name):
    params, key = {"window": 3}, 4
    inputs = draw(name, B=1, H=2, Nq=9, D=4, Dv=3, backward=True)
    expected = by_torch(inputs, params)
    inputs["v"][0, 1, key, 2] = np.nan
    sets = window_sets(9, 9, 3, 0)
    rows = seeing(sets, key)                                    # 4 to 6
    keys = sorted(set().union(*(sets[i] for i in rows)))        # 2 to 6
    expected["out"][0, 1, rows, 2] = np.nan                     # one column; log_sum_exp and d_v do not depend on v
    expected["d_q"][0, 1, rows] = np.nan                        # through rowsum(d_out * out)
    expected["d_k"][0, 1, keys] = np.nan                        # from those rows
    return Case(name, params, inputs, expected, origin(inputs, params) + (
        " v[0,1,4,2] was finite. NaN was put there afterwards, and, in head 1, into what it reaches: column 2 of out "
        "and all of d_q in rows 4 to 6, d_k of the keys 2 to 6, which these rows see. log_sum_exp and d_v stay "
        "finite."))


def seeing(sets, key):
    return [i for i, keys in enumerate(sets) if key in keys]


def infinite_values(name):
    params = {"window": 3, "sinks": 1}
    inputs = draw(name, B=1, H=2, Nq=10, D=4, Dv=4)
    expected = by_torch(inputs, params)
    sets = window_sets(10, 10, 3, 1)
    inputs["v"][:, :, 0, 0] = expected["out"][:, :, seeing(sets, 0), 0] = np.inf             # the sink: every row
    inputs["v"][:, :, 5, 1] = expected["out"][:, :, seeing(sets, 5), 1] = -np.inf            # rows 5 to 7
    inputs["v"][:, :, 3, 2], inputs["v"][:, :, 4, 2] = np.inf, -np.inf
    expected["out"][:, :, [3], 2] = np.inf
    expected["out"][:, :, [4, 5], 2] = np.nan                                                # inf - inf
    expected["out"][:, :, [6], 2] = -np.inf
    return Case(name, params, inputs, expected, origin(inputs, params) + (
        " Values were finite. Infinite ones were put in afterwards: column 0 of out is inf, column 1 -inf in rows 5 to "
        "7, column 2 inf in row 3, inf - inf = NaN in rows 4 and 5, and -inf in row 6."))
