"""Golden cases of Longformer attention: a window around each query, global tokens, dilation.

`expected` comes from transformers' LongformerSelfAttention, in float64, wherever it can be asked. Its weights, which
make queries, keys and values of tokens, pick the given ones, unchanged. It knows no dilation and no causal attention,
although the paper has both, refuses a radius of 0, and fails with a radius of 1, at a slice [1 - radius:] that is then
not the last elements but all. There, `expected` comes from PyTorch's own attention with a mask from the set of each
query. That one agrees with transformers in all other cases.

Two quirks of transformers are kept away from the numbers. It wants N to be a multiple of 2 * radius: N is padded by
tokens that its mask hides, as its own model does. And its softmax is always in float32: here, in float64.
"""
import numpy as np
import torch
from torch.nn.functional import pad
from transformers.models.longformer import modeling_longformer
from transformers.models.longformer.configuration_longformer import LongformerConfig

import sliding_window
from case import Case, random
from grouped_query import agree, all_in_float64

PACKAGES = ["numpy", "torch", "transformers"]
ASKED = ("transformers.models.longformer.modeling_longformer.LongformerSelfAttention, in float64, its softmax too, "
         "which asks for float32; its linear layers hold zeros and ones that pick the six tensors")
NOT_ASKED = ("torch.nn.functional.scaled_dot_product_attention, MATH backend, float64, explicit boolean mask from the "
             "set of each query: once for the local rows, with q, k and v, once for the global ones, with q_global, "
             "k_global and v_global")
NAMES = ("q", "k", "v", "q_global", "k_global", "v_global")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of Longformer's attention, as the chapters quote it. Every case below asserts that it agrees.
def longformer(q, k, v, q_global, k_global, v_global, radius, dilation=1, global_tokens=(), causal=False, scale=None):
    N, D = q.shape[2:]                                                       # q, k [B,H,N,D], v [B,H,N,Dv]
    is_global = torch.zeros(N, dtype=torch.bool).index_fill(0, torch.tensor(global_tokens, dtype=torch.long), True)
    distance = torch.arange(N)[:, None] - torch.arange(N)                    # [N,N]
    window = (distance % dilation == 0) & (distance.abs() <= radius * dilation)
    allowed = distance >= 0 if causal else torch.ones(N, N, dtype=torch.bool)
    def attend(q, k, v, visible):
        scores = q @ k.mT * (D ** -0.5 if scale is None else scale)          # [B,H,N,N]
        return scores.masked_fill(~(visible & allowed), -torch.inf).softmax(dim=-1) @ v
    local = attend(q, k, v, window | is_global)                              # [B,H,N,Dv]: a global key, once
    return torch.where(is_global[:, None], attend(q_global, k_global, v_global, is_global[:, None] | window), local)


def sets_of(N, radius, dilation, global_tokens, causal):
    """For each query, the keys that it sees. Global rows see all keys, through the other projections."""
    sets = []
    for i in range(N):
        if i in global_tokens:
            keys = set(range(N))
        else:
            keys = {i + t * dilation for t in range(-radius, radius + 1)} & set(range(N)) | set(global_tokens)
        sets.append({j for j in keys if j <= i} if causal else keys)
    return sets


def six(inputs):
    """Each global tensor defaults to the local one by itself."""
    return {name: inputs.get(name, inputs[name[0]]) for name in NAMES}


def by_sets(tensors, sets, global_tokens, scale):
    def ask(suffix):
        return sliding_window.by_sets({name: tensors[name + suffix] for name in ("q", "k", "v")}, sets, scale)["out"]

    out = ask("")
    if global_tokens:
        out[:, :, global_tokens] = ask("_global")[:, :, global_tokens]
    return out


def by_module(tensors, radius, global_tokens, scale):
    """[B,H,N,Dv] by transformers. A token is [q, k, v, q_global, k_global, v_global] of all heads, of E elements each;
    that is its one head dimension, and it scales by 1/sqrt(E)."""
    widths = [tensors[name].shape[3] for name in NAMES]
    (B, H, N, D), E = tensors["q"].shape, sum(widths)
    layer = modeling_longformer.LongformerSelfAttention(LongformerConfig(
        hidden_size=H * E, num_attention_heads=H, num_hidden_layers=1, attention_window=[2 * radius],
        attention_probs_dropout_prob=0.0), layer_id=0).double().eval()
    heads, start, weights = torch.eye(H, dtype=torch.float64), 0, {}
    for name, width in zip(NAMES, widths):
        pick = pad(torch.eye(width, dtype=torch.float64), (start, E - start - width, 0, E - width))       # [E,E]
        factor = ((D ** -0.5 if scale is None else scale) * E ** 0.5) if name[0] == "q" else 1
        linear = {"q": "query", "k": "key", "v": "value"}[name[0]] + name[1:]
        weights[linear + ".weight"] = torch.kron(heads, pick) * factor
        weights[linear + ".bias"] = torch.zeros(H * E)
        start += width
    layer.load_state_dict(weights)

    tokens = torch.cat([tensors[name] for name in NAMES], dim=-1).transpose(1, 2).flatten(2)              # [B,N,HE]
    padding = -N % (2 * radius)
    tokens = pad(tokens, (0, 0, 0, padding))
    mask = torch.zeros(B, N + padding, dtype=torch.float64)                  # 0: local
    mask[:, N:], mask[:, list(global_tokens)] = -10000, 10000                # padded, global
    with torch.no_grad(), all_in_float64(modeling_longformer):
        out = layer(tokens, attention_mask=mask, is_index_masked=mask < 0, is_index_global_attn=mask > 0,
                    is_global_attn=bool(global_tokens))[0]                   # [B,N,HE]: v, then zeros
    return out[:, :N].unflatten(-1, (H, E))[..., :widths[2]].transpose(1, 2)


def expected(inputs, params):
    """What must come out for finite inputs, and who says so. Everybody who can be asked must agree."""
    radius, dilation, causal = params["radius"], params.get("dilation", 1), params.get("causal", False)
    global_tokens, scale = params.get("global_tokens", []), params.get("scale")
    tensors = six(inputs)
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in tensors.items()}
    N = t["q"].shape[2]
    sets = sets_of(N, radius, dilation, global_tokens, causal)
    out, who = by_sets(tensors, sets, global_tokens, scale), NOT_ASKED
    agree(longformer(*t.values(), radius, dilation, global_tokens, causal, scale), out)

    if causal and dilation == 1 and not global_tokens:
        params = {"window": radius + 1, "scale": scale}
        agree(sliding_window.by_torch({name: tensors[name] for name in ("q", "k", "v")}, params)["out"], out)
        who += "; a sliding window of radius + 1 keys by transformers and flex_attention agreed to 1e-12"
    elif not causal and 2 <= radius <= 64 and dilation == 1:                 # at some point, the padding is too much
        theirs, padded = by_module(t, radius, global_tokens, scale), N + -N % (2 * radius)
        agree(theirs, out)
        out, who = theirs.numpy().copy(), ASKED + (f"; padded to {padded} tokens" if padded > N else "")
    elif not causal and 2 <= radius <= 64 and not global_tokens:
        # Tokens of one residue class know only each other, and are in an undilated window.
        theirs = torch.empty_like(t["v"])
        for r in range(min(dilation, N)):
            theirs[:, :, r::dilation] = by_module({x: y[:, :, r::dilation] for x, y in t.items()}, radius, [], scale)
        agree(theirs, out)
        who += "; transformers' LongformerSelfAttention of every dilation-th token agreed to 1e-12"
    return {"out": out}, f"out: {who}."


def draw(name, B, H, N, D, Dv, separate=(), dtype=np.float64, coarse=False):
    """As in dense.py; `separate` are the tensors that have one of their own for global rows."""
    normal = random("longformer", name).standard_normal
    names = ["q", "k", "v", *(x + "_global" for x in separate)]
    tensors = {key: normal((B, H, N, Dv if key[0] == "v" else D)) for key in names}
    return {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}


ALL = ("q", "k", "v")


def cases():
    def simple(name, radius, change=None, times=1, separate=(), shape=None, **params):
        """`change` may alter inputs and outputs afterwards; it returns what to say about it."""
        params = {"radius": radius} | params
        inputs = draw(name, *shape[:5], separate, *shape[5:], coarse=times != 1)
        inputs |= {x: inputs[x] * times for x in ("q", "q_global") if x in inputs}
        outputs, origin = expected(inputs, params)
        return Case(name, params, inputs, outputs, origin + (change(inputs, outputs["out"], params) if change else ""))

    # The wrong answer that a case kills stands above it. `shape` is B, H, N, D, Dv.

    # A radius taken for the whole window, or for one with the query's own key counted in; B, H, N, D, Dv exchanged.
    yield simple("window", 3, shape=(2, 3, 12, 5, 4))
    # Global rows with q, k or v in the place of theirs; local rows that see global keys through k_global, v_global.
    yield simple("plain", 2, separate=ALL, global_tokens=[0, 9], shape=(2, 3, 16, 5, 3))
    # `scale: null`, `causal: false`, `dilation: 1` and no global tokens taken for something else; float32 files.
    yield simple("plain_float32", 4, dilation=1, global_tokens=[], causal=False, scale=None,
                 shape=(1, 2, 24, 6, 4, np.float32))
    yield simple("global_float32", 3, separate=ALL, global_tokens=[17, 4], shape=(2, 2, 18, 4, 6, np.float32))
    # The three global tensors required, or left zero.
    yield simple("shared_projections", 2, global_tokens=[3, 10], shape=(2, 2, 12, 4, 5))
    # One of the three taken for all: v_global = v only if v_global is not given.
    yield simple("separate_keys", 2, separate=("k",), global_tokens=[1, 6], shape=(1, 2, 12, 4, 3))
    yield simple("separate_queries_values", 2, separate=("q", "v"), global_tokens=[8], shape=(1, 2, 12, 3, 5))

    # A global key that is in the window as well, counted twice: all are.
    yield simple("global_inside_window", 4, separate=ALL, global_tokens=[6, 7, 8], shape=(1, 2, 16, 4, 3))
    # Global tokens taken to be the first ones, or in ascending order.
    yield simple("global_unsorted", 2, separate=ALL, global_tokens=[7, 0, 13, 4], shape=(1, 2, 14, 3, 4))
    # The last token taken for padding.
    yield simple("global_last", 2, separate=ALL, global_tokens=[15], shape=(1, 2, 16, 4, 3))
    # No local row at all: q, k and v do not matter, and are NaN.
    yield simple("global_all", 2, poison_unseen, separate=ALL, global_tokens=[0, 1, 2, 3, 4, 5], shape=(1, 2, 6, 4, 3))
    # 0 / 0 from a window that no row is left for. The answer is dense attention's.
    yield simple("global_all_shared", 1, global_tokens=[4, 3, 2, 1, 0], shape=(2, 2, 5, 3, 4))
    # No global row: the global tensors do not matter, and are NaN.
    yield simple("global_none", 2, poison_unseen, separate=ALL, global_tokens=[], shape=(1, 2, 8, 4, 3))

    # A window without the own key: here it is all there is, out = v.
    yield simple("radius_zero", 0, shape=(2, 2, 6, 3, 4))
    # `if (radius)`: 0 taken for everything.
    yield simple("radius_zero_global", 0, separate=ALL, global_tokens=[5, 2], shape=(1, 2, 9, 4, 3))
    # The only pairs that are out of the window, (0, N-1) and (N-1, 0), seen after all.
    yield simple("radius_all_but_one", 7, shape=(1, 2, 9, 4, 3))
    # i - radius < 0 in unsigned numbers; positions beyond the sequence read, on both sides.
    yield simple("radius_longer", 30, separate=ALL, global_tokens=[3], shape=(1, 2, 7, 3, 4))
    # A window whose length is rounded to chunks of the radius: 3 does not divide 13.
    yield simple("ragged", 3, separate=ALL, global_tokens=[0], shape=(1, 2, 13, 4, 3))

    # |i - j| <= radius instead of radius * dilation; or all keys of that span seen.
    yield simple("dilated", 2, dilation=3, shape=(2, 2, 17, 4, 3))
    # The residue counted from 0 instead of from the query.
    yield simple("dilated_global", 2, separate=ALL, dilation=2, global_tokens=[4, 9], shape=(2, 2, 15, 4, 3))
    # A dilation beyond N: only the own key, out = v.
    yield simple("dilated_beyond", 3, dilation=40, shape=(1, 2, 7, 4, 3))
    # radius * dilation overflows 32 bits.
    yield simple("dilated_huge", 70000, dilation=70000, shape=(1, 1, 6, 3, 2))

    # Keys on the right of the query.
    yield simple("causal", 3, causal=True, shape=(2, 2, 13, 4, 3))
    # A global token seen by rows before it, or a global row that sees what comes after it.
    yield simple("causal_global", 2, separate=ALL, causal=True, global_tokens=[4, 9], shape=(2, 2, 14, 4, 3))
    yield simple("causal_dilated", 2, causal=True, dilation=3, shape=(1, 2, 16, 4, 3))
    yield simple("causal_dilated_global", 2, separate=ALL, causal=True, dilation=2, global_tokens=[11, 3],
                 shape=(1, 2, 15, 3, 4))
    # The first row is global: it sees itself only.
    yield simple("causal_global_first", 1, separate=ALL, causal=True, global_tokens=[0], shape=(1, 2, 8, 3, 4))

    # 1/sqrt(D) on top of the given scale, or on one of the two kinds of rows only.
    yield simple("custom_scale", 2, separate=ALL, global_tokens=[2, 7], scale=0.3, shape=(1, 2, 12, 7, 3))
    # `if (scale)`: 0 taken for absent. The answer is the mean of the values that are seen.
    yield simple("zero_scale", 2, separate=ALL, global_tokens=[5], scale=0, shape=(1, 2, 12, 3, 5))
    # exp without the maximum subtracted; window and global keys with a maximum each, and no correction.
    yield simple("large_logits", 2, times=16, separate=ALL, global_tokens=[1, 10], scale=1.875, shape=(2, 2, 12, 4, 5))
    # The maximum taken before the scale.
    yield simple("negative_scale", 3, times=16, global_tokens=[4], scale=-1, shape=(1, 2, 12, 8, 4))
    yield simple("one_element", 1, shape=(1, 1, 1, 1, 1))
    yield simple("one_element_global", 0, separate=ALL, causal=True, global_tokens=[0], shape=(1, 1, 1, 2, 3))

    # A forgotten last tile, or one read beyond its end; a global key in a tile of the window, and in none.
    yield simple("tile_65", 9, separate=ALL, global_tokens=[40, 2], shape=(1, 2, 65, 5, 4, np.float32))
    yield simple("tile_70_causal", 20, separate=ALL, causal=True, global_tokens=[33, 0], shape=(1, 1, 70, 6, 5))
    yield simple("tile_66_dilated", 7, separate=ALL, dilation=4, global_tokens=[64, 31, 32],
                 shape=(1, 2, 66, 4, 4, np.float32))
    # More global tokens than fit in a tile of 16 or 32.
    yield simple("tile_many_global", 2, separate=ALL, global_tokens=list(range(3, 73, 2)), shape=(1, 1, 75, 4, 3))

    # 0 * NaN: what nobody sees is NaN or infinite; q of global rows, q_global of local ones.
    yield simple("poisoned", 2, poison_unseen, separate=ALL, global_tokens=[4, 11], shape=(1, 2, 14, 4, 3))
    # And k_global, v_global after the last global row; and k, v of the last token, which no local row sees.
    yield simple("poisoned_causal", 2, poison_unseen, separate=ALL, causal=True, global_tokens=[3, 12],
                 shape=(1, 2, 13, 4, 3))
    # A NaN swallowed; or, with a mask that is added or multiplied, spread to rows that do not see the key; or seen by
    # global rows, whose keys are others.
    yield simple("nan_key", 2, nan_at("k", 6), separate=ALL, global_tokens=[2, 9], shape=(1, 2, 12, 4, 3))
    yield simple("nan_key_of_global_token", 1, nan_at("k", 2), separate=ALL, global_tokens=[2, 9],
                 shape=(1, 2, 12, 4, 3))
    yield simple("nan_global_key", 2, nan_at("k_global", 6), separate=ALL, global_tokens=[2, 9], shape=(1, 2, 12, 4, 3))
    yield simple("nan_value_dilated", 2, nan_at("v", 6), dilation=2, shape=(1, 2, 13, 4, 3))
    yield simple("nan_value_shared", 2, nan_at("v", 6), global_tokens=[2, 9], shape=(1, 2, 12, 4, 3))


# ---- what is put into inputs and outputs afterwards

def seen_by(inputs, params):
    """For each of the six tensors, and each position, the rows whose answer depends on it."""
    N, global_tokens = inputs["q"].shape[2], params.get("global_tokens", [])
    sets = sets_of(N, params["radius"], params.get("dilation", 1), global_tokens, params.get("causal", False))
    seen = {name: [set() for _ in range(N)] for name in NAMES}
    for i, keys in enumerate(sets):
        suffix = "_global" if i in global_tokens else ""
        seen["q" + suffix][i].add(i)
        for j in keys:
            seen["k" + suffix][j].add(i)
            seen["v" + suffix][j].add(i)
    return seen


def poison_unseen(inputs, out, params):
    notes = []
    for name, rows in seen_by(inputs, params).items():
        unseen = [position for position, seen in enumerate(rows) if not seen]
        inputs[name][:, :, unseen] = np.nan
        inputs[name][:, :, unseen[1::3]] = np.inf
        if unseen:
            notes.append(f"{name} of {unseen}")
    return f" All was finite. NaN and infinities were put afterwards into what nobody sees: {', '.join(notes)}."


def nan_at(name, position):
    def change(inputs, out, params):
        seen = seen_by(inputs, params)
        rows = set(seen[name][position])
        if name + "_global" not in inputs and name in ALL:
            rows |= seen[name + "_global"][position]            # one tensor for both
        inputs[name][0, 1, position, 2] = np.nan
        if name[0] == "v":
            out[0, 1, sorted(rows), 2] = np.nan
        else:
            out[0, 1, sorted(rows)] = np.nan
        return (f" {name}[0,1,{position},2] was finite. NaN was put there afterwards, and into "
                f"{'column 2 of ' if name[0] == 'v' else ''}the rows of head 1 that see it: {sorted(rows)}.")
    return change
