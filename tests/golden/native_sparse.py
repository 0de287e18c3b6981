"""Golden cases of native sparse attention (NSA; Yuan et al. 2025, arXiv 2502.11089).

flash-linear-attention's naive NSA, in float64, computes what it knows: the compressed branch where blocks do not
overlap (l = d), the selection where there is one block size (l = d = l'), the selected branch always. For all else
`expected` comes from PyTorch's own attention under explicit masks; its weights, for the importance, are its answer for
values that are unit vectors. Every case is computed once more by loops over sets of tokens (`by_sets`), with the
importance as in Eq. 9 of the paper, whose indices count from 1.

The compressor is the mean of a block's tokens unless the params say otherwise. Its weights are the same for all heads:

    "compressor": "linear"   compress_k_weight [l], compress_v_weight [l]: a weighted sum, one weight for each position
                             in the block
    "compressor": "mlp"      down · gelu(up · flatten(block + position)), exact (erf) GELU, no biases; in flatten, the
                             dimensions of one token stand together.
                             compress_k_position [l,Dk], compress_k_up [Dh,l·Dk], compress_k_down [Dk,Dh],
                             compress_v_position [l,Dv], compress_v_up [Dh,l·Dv], compress_v_down [Dv,Dh]

With d_out [B,H,N,Dv], the gradient of `out`, the outputs are also d_q, d_k_compress, d_v_compress, d_k_select,
d_v_select, d_k_window, d_v_window, d_gates. The selection is held constant. These cases have the compressor `mean`.
"""
import itertools
import math

import numpy as np
import torch
from fla.ops.nsa import naive
from torch.nn import GELU, Linear, Sequential
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import avg_pool1d, conv1d, conv_transpose1d, gelu, pad, scaled_dot_product_attention

from case import Case, random
from grouped_query import all_in_float64

PACKAGES = ["numpy", "torch", "flash-linear-attention"]
OUTPUTS = ("out", "out_compress", "out_select", "out_window", "selected")

torch.set_num_threads(1)    # the same order of additions in every run


# ---- native sparse attention, as the chapters quote it: t are the inputs, p the params. Every case asserts that it
# agrees with fla and PyTorch. C counts the compressed blocks, J the selection blocks.

def native_sparse(t, p):
    q, N, W = t["q"], t["q"].shape[2], p["window"]                                               # q [B,H,N,Dk]
    keys, values = compress(t, "k", p), compress(t, "v", p)                                      # [B,G,C,Dk or Dv]
    i, j = torch.arange(N)[:, None], torch.arange(N)
    complete = torch.arange(keys.shape[2]) * p["compress_stride"] + p["compress_block"] - 1 <= i         # [N,C]
    out_compress, weights = attend(q, keys, values, complete, p["scale"])
    selected = select(weights.detach(), p)                                                       # [B,G,N,n]
    visible = (selected[..., None] == j // p["select_block"]).any(dim=3) & (j <= i)              # [B,G,N,N]
    out_select, _ = attend(q, t["k_select"], t["v_select"], visible, p["scale"])
    out_window, _ = attend(q, t["k_window"], t["v_window"], (j <= i) & (i - j < W), p["scale"])
    outs = torch.stack((out_compress, out_select, out_window), dim=-1)                           # [B,H,N,Dv,3]
    return (outs @ t["gates"][..., None])[..., 0], out_compress, out_select, out_window, selected


def compress(t, kind, p):                                                                        # kind "k" or "v"
    x, l, d = t[f"{kind}_compress"], p["compress_block"], p["compress_stride"]                   # [B,G,N,D]
    count = max((x.shape[2] - l) // d + 1, 0)
    blocks = x[:, :, torch.arange(count)[:, None] * d + torch.arange(l)]                         # [B,G,C,l,D]
    if p["compressor"] == "linear":
        return t[f"compress_{kind}_weight"] @ blocks                                             # [B,G,C,D]
    if p["compressor"] == "mlp":
        hidden = (blocks + t[f"compress_{kind}_position"]).flatten(3) @ t[f"compress_{kind}_up"].mT
        return gelu(hidden) @ t[f"compress_{kind}_down"].mT                                      # [B,G,C,D]
    return blocks.mean(dim=3)


def attend(q, k, v, visible, scale):                               # q [B,H,N,Dk], k [B,G,M,Dk], v [B,G,M,Dv]
    q = q.unflatten(1, (k.shape[1], -1))                                                         # [B,G,H/G,N,Dk]
    scores = q @ k[:, :, None].mT * (q.shape[4] ** -0.5 if scale is None else scale)             # [B,G,H/G,N,M]
    hidden = ~(visible if visible.dim() == 2 else visible[:, :, None])                           # [N,M], [B,G,1,N,M]
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
    weights = weights.masked_fill(hidden, 0)                                                     # nothing visible: 0
    return (weights @ v[:, :, None]).flatten(1, 2), weights                                      # [B,H,N,Dv], weights


def select(weights, p):                                                                          # [B,G,H/G,N,C]
    (N, C), l, d, L = weights.shape[3:], p["compress_block"], p["compress_stride"], p["select_block"]
    i, J, own = torch.arange(C)[:, None], torch.arange(-(-N // L)), torch.arange(N)[:, None] // L
    shared = (i * d + l).minimum(J * L + L) - (i * d).maximum(J * L)                             # [C,J], in tokens
    importance = weights.sum(dim=2) @ (shared.clamp(min=0) / d).to(weights)                      # [B,G,N,J]
    forced = (J == 0) | (J == own) | (J == own - 1)                                              # they count in n
    importance = importance.masked_fill(forced, torch.inf).masked_fill(J > own, -torch.inf)
    best = importance.sort(dim=-1, descending=True, stable=True)                                 # ties: lower block
    chosen = torch.where(best.values > -torch.inf, best.indices, N)[..., :p["select_count"]].sort(dim=-1).values
    chosen = pad(chosen, (0, p["select_count"] - chosen.shape[-1]), value=N)                     # [B,G,N,n]
    return chosen.masked_fill(chosen == N, -1)


# ---- the libraries

def full(params):
    return {"scale": None, "compressor": "mean"} | params


def compressed(t, kind, p):
    """[B,G,C,D], by what PyTorch has for it."""
    x, l, d = t[f"{kind}_compress"], p["compress_block"], p["compress_stride"]
    (B, G, N, D), weights = x.shape, {name.split("_")[-1]: w for name, w in t.items() if f"compress_{kind}_" in name}
    if N < l:
        return x[:, :, :0]
    if p["compressor"] == "mlp":
        layers = Sequential(Linear(l * D, len(weights["up"]), bias=False), GELU(),
                            Linear(len(weights["up"]), D, bias=False))
        layers.load_state_dict({"0.weight": weights["up"], "2.weight": weights["down"]}, assign=True)
        return layers((x.unfold(2, l, d).mT + weights["position"]).flatten(3))
    rows = x.mT.reshape(B * G * D, 1, N)
    rows = conv1d(rows, weights["weight"][None, None], stride=d) if p["compressor"] == "linear" else avg_pool1d(
        rows, l, stride=d)
    return rows.reshape(B, G, D, -1).mT


def sdpa(q, k, v, visible, scale):
    """Rows that see no key are kept from PyTorch, and 0. They are the first ones."""
    if k.shape[2] == 0:
        return q.new_zeros(*q.shape[:3], v.shape[3])
    seeing = visible.any(dim=-1)
    blind = int((~seeing).sum(dim=-1).max())
    assert seeing[..., blind:].all() and not seeing[..., :blind].any()
    with sdpa_kernel(SDPBackend.MATH):
        out = scaled_dot_product_attention(q[:, :, blind:], k, v, attn_mask=visible[..., blind:, :], scale=scale,
                                           enable_gqa=True)
    return pad(out, (0, 0, blind, 0))


def complete_blocks(p, N, C):
    """[N,C]: where the last token of compressed block i has come."""
    return torch.tensor([[i * p["compress_stride"] + p["compress_block"] <= row + 1 for i in range(C)]
                         for row in range(N)], dtype=torch.bool).reshape(N, C)


def importance_of(q, keys, p):
    """[B,G,N,J]. Each compressed block gives its weight to each of its l/d strides, and l'/d strides are a block."""
    (B, H, N, _), (G, C), d = q.shape, keys.shape[1:3], p["compress_stride"]
    alpha, beta, blocks = p["select_block"] // d, p["compress_block"] // d, -(-N // p["select_block"])
    if C == 0:
        return q.new_zeros(B, G, N, blocks)
    unit = torch.eye(C, dtype=q.dtype).expand(B, G, C, C)
    weights = sdpa(q, keys, unit, complete_blocks(p, N, C), p["scale"]).reshape(B, G, H // G, N, C)
    strides = conv_transpose1d(weights.sum(dim=2).reshape(-1, 1, C), torch.ones(1, 1, beta, dtype=q.dtype))
    strides = pad(strides, (0, blocks * alpha - strides.shape[-1]))
    return (avg_pool1d(strides, alpha) * alpha).reshape(B, G, N, blocks)


def forced_of(row, p):
    own = row // p["select_block"]
    return {0, own, max(own - 1, 0)}


def selection(importance, p, ties=1):
    """[B,G,N,n], ties to the lower block; to the higher one if `ties` is -1."""
    B, G, N, _ = importance.shape
    selected = np.full((B, G, N, p["select_count"]), -1)
    for b, g, row in np.ndindex(B, G, N):
        forced = forced_of(row, p)
        rest = set(range(row // p["select_block"] + 1)) - forced
        rest = sorted(rest, key=lambda J: (-importance[b, g, row, J].item(), ties * J))
        chosen = sorted(forced | set(rest[:p["select_count"] - len(forced)]))
        selected[b, g, row, :len(chosen)] = chosen
    return torch.tensor(selected)


def fla(function, *tensors, **options):
    """Their layout is [B,N,H,D]."""
    with all_in_float64(naive):
        found = function(*(x.transpose(1, 2) for x in tensors), **options)
    return (found[0] if isinstance(found, tuple) else found).transpose(1, 2)


def one_block_size(p):
    return p["compress_block"] == p["compress_stride"] == p["select_block"]


def by_libraries(inputs, params, ties=False):
    """What must come out for finite inputs."""
    p = full(params)
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    wanted = [name for name in t if name != "d_out" and not name.startswith("compress_")]
    for name in wanted:
        t[name].requires_grad_()
    q, (H, N, Dk) = t["q"], t["q"].shape[1:]
    scale = Dk ** -0.5 if p["scale"] is None else p["scale"]
    keys, values = compressed(t, "k", p), compressed(t, "v", p)

    # The branches, in the order of the gates.
    found = {"out_compress": sdpa(q, keys, values, complete_blocks(p, N, keys.shape[2]), scale)}
    selected = selection(importance_of(q.detach(), keys.detach(), p), p)
    if one_block_size(p) and not ties:
        # They want the incomplete block at the end to be there; they let nobody see it.
        padded = pad(keys.detach(), (0, 0, 0, -(-N // p["select_block"]) - keys.shape[2]))
        theirs = fla(naive.naive_nsa_topk, q.detach(), padded, block_counts=p["select_count"],
                     block_size=p["select_block"], scale=scale)
        theirs = torch.where(theirs < 0, N, theirs).sort(dim=-1).values                          # -1 to the end
        assert torch.equal(torch.where(theirs == N, -1, theirs), selected)

    found["out_select"] = fla(naive.naive_nsa_selection, q, t["k_select"], t["v_select"], selected,
                              block_size=p["select_block"], scale=scale)
    masks = {"select": torch.zeros(*selected.shape[:3], N, dtype=torch.bool), "window": torch.zeros(N, N).bool()}
    for b, g, row in np.ndindex(*selected.shape[:3]):
        masks["window"][row, max(row - p["window"] + 1, 0):row + 1] = True
        for J in selected[b, g, row].tolist():
            masks["select"][b, g, row, max(J, 0) * p["select_block"]:min((J + 1) * p["select_block"], row + 1)] = True
    masks["select"] = masks["select"].repeat_interleave(H // len(selected[0]), dim=1)
    agree(sdpa(q, t["k_select"], t["v_select"], masks["select"], scale), found["out_select"])
    found["out_window"] = sdpa(q, t["k_window"], t["v_window"], masks["window"], scale)

    gates = t["gates"].split(1, dim=-1)
    found = {"out": sum(g * x for g, x in zip(gates, found.values()))} | found | {"selected": selected}
    ours = dict(zip(OUTPUTS, native_sparse(t, p)))
    if "d_out" in t:
        for outputs in (found, ours):
            gradients = torch.autograd.grad(outputs["out"], [t[name] for name in wanted], t["d_out"],
                                            materialize_grads=True)             # no complete block: d_k_compress is 0
            outputs |= {"d_" + name: gradient for name, gradient in zip(wanted, gradients)}
    if p["compress_block"] == p["compress_stride"]:
        theirs = fla(naive.naive_nsa_compression, q, keys, values, block_size=p["compress_block"], scale=scale)
        agree(found["out_compress"], theirs)
        found["out_compress"] = theirs

    # The quoted version must agree.
    assert ours.keys() == found.keys()
    for name in found:
        agree(ours[name], found[name])
    expected = {name: tensor.detach().numpy().copy() for name, tensor in found.items()}
    return expected | {"selected": expected["selected"].astype(np.int32)}


def agree(ours, theirs):
    assert ours.dtype == theirs.dtype and ours.dtype in (torch.float64, torch.int64)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


# ---- once more, one row after the other. What is not in a set is not read: NaN stay where they belong.

def by_sets(inputs, params):
    p, x = full(params), {name: array.astype(np.float64) for name, array in inputs.items()}
    l, d, block, n = p["compress_block"], p["compress_stride"], p["select_block"], p["select_count"]
    (B, H, N, Dk), (G, _, Dv), alpha, beta = x["q"].shape, x["v_select"].shape[1:], block // d, l // d
    scale = 1 / math.sqrt(Dk) if p["scale"] is None else p["scale"]
    outs, selected = np.zeros((3, B, H, N, Dv)), np.full((B, G, N, n), -1)

    def phi(kind, tokens):                                                      # [l,D] -> [D]
        weights = [x.get(f"compress_{kind}_{name}") for name in ("weight", "position", "up", "down")]
        if p["compressor"] == "linear":
            return sum(weights[0][u] * tokens[u] for u in range(l))
        if p["compressor"] == "mlp":
            hidden = [sum(a * b for a, b in zip(row, (tokens + weights[1]).ravel())) for row in weights[2]]
            return weights[3] @ [y * (1 + math.erf(y / math.sqrt(2))) / 2 for y in hidden]
        return sum(tokens) / l

    def attention(query, keys, values):
        scores = [scale * sum(a * b for a, b in zip(query, key)) for key in keys]
        weights = [np.exp(score - np.max(scores)) for score in scores]
        weights = [weight / sum(weights) for weight in weights]
        return weights, sum(weight * value for weight, value in zip(weights, values))

    for b, g in np.ndindex(B, G):
        starts = range(0, N - l + 1, d)
        keys, values = ([phi(kind, x[f"{kind}_compress"][b, g, s:s + l]) for s in starts] for kind in "kv")
        for row in range(N):
            count = sum(s + l - 1 <= row for s in starts)
            mass = np.zeros(row // block + 1)
            for h in range(g * (H // G), (g + 1) * (H // G)):
                if count == 0:
                    continue
                weights, outs[0, b, h, row] = attention(x["q"][b, h, row], keys[:count], values[:count])
                for J, m, s in itertools.product(range(len(mass)), range(alpha), range(beta)):          # Eq. 9
                    if 0 <= alpha * J + m - s < count:
                        mass[J] += weights[alpha * J + m - s]
            chosen = {0, len(mass) - 1, max(len(mass) - 2, 0)}
            while len(chosen) < min(n, len(mass)):
                chosen.add(min(set(range(len(mass))) - chosen, key=lambda J: (-mass[J], J)))
            selected[b, g, row, :len(chosen)] = sorted(chosen)
            for h in range(g * (H // G), (g + 1) * (H // G)):
                for branch, name, seen in ((1, "select", [j for j in range(row + 1) if j // block in chosen]),
                                           (2, "window", [j for j in range(row + 1) if row - j < p["window"]])):
                    outs[branch, b, h, row] = attention(x["q"][b, h, row], x[f"k_{name}"][b, g, seen],
                                                        x[f"v_{name}"][b, g, seen])[1]
    out = sum(x["gates"][..., branch, None] * outs[branch] for branch in range(3))
    return dict(zip(OUTPUTS, (out, *outs, selected)))


# ---- inputs

def draw(name, params, B, H, G, N, Dk, Dv, Dh=None, backward=False, dtype=np.float32, change=None, tidy=None):
    """Standard normal, gates uniform. `tidy` alters each tensor as it is drawn, `change` then all of them. Last,
    queries are drawn again until the selection is beyond doubt, also in 16 bits."""
    generator, p, l = random("native_sparse", name), full(params), params["compress_block"]
    tidy = tidy or (lambda tensor, x: x)
    shapes = {"q": (B, H, N, Dk)} | {f"{kind}_{branch}": (B, G, N, D) for branch in ("compress", "select", "window")
                                     for kind, D in (("k", Dk), ("v", Dv))}
    inputs = {key: generator.standard_normal(shape) for key, shape in shapes.items()}
    inputs["gates"] = generator.uniform(size=(B, H, N, 3))
    for kind, D in (("k", Dk), ("v", Dv)):
        if p["compressor"] == "linear":
            inputs[f"compress_{kind}_weight"] = generator.standard_normal(l)
        if p["compressor"] == "mlp":
            inputs[f"compress_{kind}_position"] = generator.standard_normal((l, D))
            inputs[f"compress_{kind}_up"] = generator.standard_normal((Dh, l * D)) / math.sqrt(l * D)
            inputs[f"compress_{kind}_down"] = generator.standard_normal((D, Dh)) * 2 / math.sqrt(Dh)
    if backward:
        inputs["d_out"] = generator.standard_normal((B, H, N, Dv))
    inputs = {key: tidy(key, x).astype(dtype) for key, x in inputs.items()}
    if change:
        change(inputs)
    while rows := doubtful(inputs, p):
        for b, g, row in rows:
            heads = slice(g * (H // G), (g + 1) * (H // G))
            inputs["q"][b, heads, row] = tidy("q", generator.standard_normal((H // G, Dk)))
    return inputs


def doubtful(inputs, p):
    """The rows (b, g, i) whose least selected block is less than e^(0.06 + 0.02 * the largest score) times as important
    as the best of the others, unless they tie; and those whose selection changes when inputs and compressed keys are
    rounded to 16 bits."""
    choices = []
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        t = {name: torch.tensor(array).to(dtype).double() for name, array in inputs.items()}
        keys = compressed(t, "k", p).to(dtype).double()
        importance = importance_of(t["q"], keys, p)
        choices.append(selection(importance, p))
        if dtype == torch.float64:
            scale = t["q"].shape[3] ** -0.5 if p["scale"] is None else p["scale"]
            scores = t["q"].unflatten(1, (keys.shape[1], -1)) @ keys.mT[:, :, None] * scale      # [B,G,H/G,N,C]
            scores = torch.where(scores.isfinite(), scores.abs(), 0)
            largest = pad(scores, (0, 1)).amax(dim=(2, 4))                                       # [B,G,N]
            exact = importance
    rows = (choices[0] != choices[1]).any(dim=-1) | (choices[0] != choices[2]).any(dim=-1)
    for b, g, row in np.ndindex(*rows.shape):
        chosen, others = set(choices[0][b, g, row].tolist()), set(range(row // p["select_block"] + 1))
        if others - chosen and chosen - forced_of(row, p):
            worst = min(exact[b, g, row, J].item() for J in chosen - forced_of(row, p))
            best = max(exact[b, g, row, J].item() for J in others - chosen)
            margin = math.exp(0.06 + 0.02 * largest[b, g, row].item())
            rows[b, g, row] |= not (worst == best or worst > max(best * margin, 1e-30))
    return rows.nonzero().tolist()


def has_ties(inputs, params):
    """Would another rule for ties make another selection?"""
    p, t = full(params), {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    importance = importance_of(t["q"], compressed(t, "k", p), p)
    return not torch.equal(selection(importance, p), selection(importance, p, ties=-1))


# ---- cases

def origin(params, inputs, ties):
    p = full(params)
    theirs = ["out_select: naive_nsa_selection"]
    if p["compress_block"] == p["compress_stride"]:
        theirs.append("out_compress: naive_nsa_compression")
    if one_block_size(p) and not ties:
        theirs.append("selected: naive_nsa_topk, sorted")
    compressor = {"mean": "avg_pool1d", "linear": "conv1d", "mlp": "Linear, GELU, Linear"}[p["compressor"]]
    text = (f"fla.ops.nsa.naive of flash-linear-attention, in float64, although it asks for float32 "
            f"({'; '.join(theirs)}); all else: torch.nn.functional.scaled_dot_product_attention, MATH backend, "
            f"float64, explicit boolean masks; compressed keys and values: torch.nn's {compressor}")
    if not one_block_size(p) or ties:
        text += ("; selected: from its weights, which conv_transpose1d spreads over strides and avg_pool1d collects "
                 "into blocks; ties to the lower block")
    return text + "." + (" Gradients: torch.autograd, selection held constant." if "d_out" in inputs else "")


def params_of(l, d, block, n, window, **others):
    names = ("compress_block", "compress_stride", "select_block", "select_count", "window")
    return dict(zip(names, (l, d, block, n, window))) | others


def case(name, params, inputs, expected=None, note="", ties=False):
    assert expected or has_ties(inputs, params) == ties
    expected = expected or by_libraries(inputs, params, ties)
    for output, tensor in by_sets(inputs, params).items():
        np.testing.assert_allclose(tensor, expected[output], rtol=1e-12, atol=1e-12, err_msg=f"{name} {output}")
    return Case(name, params, inputs, expected, origin(params, inputs, ties) + note)


def cases():
    def simple(name, params, note="", ties=False, **shape):
        return case(name, params, draw(name, params, **shape), note=note, ties=ties)

    # The wrong answer that a case kills stands above it.

    # ---- One block size, which fla knows.
    # Any exchange of two of B, H, G, N, Dk, Dv, or of two branches' keys or gates; an incomplete block that is seen.
    yield simple("plain", params_of(3, 3, 3, 4, 5), B=2, H=4, G=2, N=19, Dk=5, Dv=3)
    # `scale: null` read as 0; float64 files read as float32.
    yield simple("defaults_named", params_of(2, 2, 2, 5, 3, compressor="mean", scale=None), B=2, H=2, G=2, N=15, Dk=3,
                 Dv=4, dtype=np.float64)
    # 1/sqrt(Dk) on top of the given scale, or in one of the branches.
    yield simple("custom_scale", params_of(2, 2, 2, 4, 4, scale=0.3), B=1, H=4, G=2, N=14, Dk=6, Dv=3)
    # A selection for each head, or the importance of at most eight of them, in the place of the sum over ten.
    yield simple("wide_group", params_of(2, 2, 2, 4, 3), B=1, H=20, G=2, N=13, Dk=3, Dv=2)
    # A stride of the key heads, or of the batch, that is wrong but not used elsewhere.
    yield simple("one_key_head", params_of(2, 2, 2, 4, 3), B=2, H=3, G=1, N=13, Dk=4, Dv=3)
    # Gates that are normalised; out_<branch> after its gate, or 0 where a branch was left out because its gate is 0.
    yield simple("gates_0_and_1", params_of(3, 3, 3, 4, 4), change=whole_gates, B=1, H=4, G=2, N=17, Dk=4, Dv=3)

    # ---- Blocks that overlap, and selection blocks of another size.
    # Importance without its weights; of the block's first token only; a stride of l.
    yield simple("overlapping", params_of(4, 2, 4, 4, 6), B=2, H=4, G=2, N=26, Dk=4, Dv=3)
    # Eq. 9 of the paper with indices that count from 0: alpha J - m - n.
    yield simple("paper_ratio", params_of(4, 2, 8, 4, 9), B=1, H=4, G=2, N=51, Dk=4, Dv=3)
    # Two strides in a block, always; here, and in `linear_overlapping`, there are three.
    yield simple("stride_1", params_of(3, 1, 3, 5, 4), B=1, H=2, G=2, N=20, Dk=3, Dv=4)
    # l in the place of l', in the selection or in the branch that follows it.
    yield simple("larger_selection_blocks", params_of(2, 2, 6, 4, 5), B=1, H=4, G=2, N=33, Dk=4, Dv=3)
    # A last block, of either kind, that is taken for whole, or left out.
    yield simple("ragged", params_of(6, 3, 9, 4, 7), B=1, H=2, G=1, N=41, Dk=7, Dv=5)
    # A block of one token that is seen one token too late; a compressor that asks for two.
    yield simple("one_token_a_block", params_of(1, 1, 3, 4, 2), B=2, H=2, G=1, N=16, Dk=3, Dv=2)
    # n blocks on top of the forced three; a window of W tokens before the query's own.
    yield simple("only_forced_blocks_window_1", params_of(2, 1, 2, 3, 1), B=2, H=2, G=2, N=13, Dk=3, Dv=2)
    # A forgotten last tile, or one read beyond its end, of 8, 16, 32 or 64 tokens or dimensions.
    yield simple("tile_crossing", params_of(8, 4, 16, 4, 33), B=1, H=2, G=1, N=83, Dk=9, Dv=5)
    yield simple("wide_heads", params_of(2, 1, 2, 4, 3), B=1, H=2, G=1, N=5, Dk=131, Dv=67)

    # ---- Branches that are causal attention.
    yield all_of_it("select_everything", params_of(4, 2, 4, 7, 2), [0, 1, 0], B=2, H=4, G=2, N=17, Dk=4, Dv=3)
    yield all_of_it("window_everything", params_of(4, 2, 4, 3, 30), [0, 0, 1], B=2, H=4, G=2, N=19, Dk=4, Dv=3)
    yield all_of_it("compress_everything", params_of(1, 1, 2, 3, 2), [1, 0, 0], B=2, H=4, G=2, N=12, Dk=4, Dv=3)
    # Three times the same: (0.5 + 0.25 + 1) times causal attention.
    yield all_of_it("everything_three_times", params_of(1, 1, 1, 11, 11), [0.5, 0.25, 1], B=1, H=2, G=1, N=11, Dk=4,
                    Dv=3)

    # ---- Few tokens.
    # The mean of nothing, NaN, where no block is complete.
    yield simple("no_complete_block", params_of(8, 4, 8, 3, 3), B=2, H=2, G=1, N=7, Dk=3, Dv=2)
    yield simple("one_complete_block", params_of(8, 4, 8, 4, 3), B=1, H=2, G=1, N=8, Dk=3, Dv=2)
    yield simple("one_token", params_of(4, 2, 4, 5, 3), B=3, H=4, G=2, N=1, Dk=3, Dv=2)
    # The least of everything. Here the block is complete.
    yield simple("one_element", params_of(1, 1, 1, 3, 1), B=1, H=1, G=1, N=1, Dk=1, Dv=1)

    # ---- Ties.
    # `if (scale)`: 0 taken for absent. Every block is as important as every other: the lower ones.
    yield simple("zero_scale", params_of(2, 2, 2, 5, 4, scale=0), ties=True, B=1, H=4, G=2, N=17, Dk=3, Dv=2)
    # Keys that are all the same, in the compressed branch only.
    yield simple("equal_keys", params_of(3, 3, 3, 4, 4), ties=True, change=equal_keys, B=2, H=2, G=1, N=19, Dk=4, Dv=3)
    # Blocks whose importance is 0 left out: from token 11 on, one compressed block has all the weight; the others tie.
    yield simple("importance_0", params_of(4, 2, 4, 5, 4, scale=1), ties=True, change=one_block_wins,
                 tidy=first_positive, B=1, H=4, G=2, N=30, Dk=4, Dv=3)

    # ---- Large scores: exp without the maximum subtracted.
    yield large_scores("large_scores", params_of(4, 2, 4, 4, 6, scale=24), B=1, H=4, G=2, N=25, Dk=4, Dv=3)

    # ---- NaN and infinities.
    # 0 * NaN, NaN - inf: a token after the query, in a block that is selected or not, or one before the window.
    yield nan_keys("nan_keys", params_of(4, 2, 4, 4, 5), B=2, H=4, G=2, N=30, Dk=4, Dv=3)
    yield infinite_values("infinite_values", params_of(4, 2, 4, 4, 5), B=1, H=4, G=2, N=30, Dk=4, Dv=3)
    # Tokens after the last complete compressed block, in the compressed branch.
    yield nan_tail("nan_tail", params_of(6, 3, 6, 4, 5), B=1, H=4, G=2, N=41, Dk=4, Dv=3)
    # A NaN importance where all blocks are selected whatever it is. Two heads of four see it.
    yield nan_compressed_key("nan_compressed_key", params_of(4, 2, 4, 5, 4), B=1, H=4, G=2, N=19, Dk=4, Dv=3)
    # NaN from -inf - -inf, or from 0 * inf, for a key whose weight is 0.
    yield infinite_key("infinite_key", params_of(3, 3, 3, 4, 4), B=1, H=2, G=1, N=16, Dk=4, Dv=3)

    # ---- Gradients.
    # Those of one head in the place of the sum over its group; of the gated branch in d_gates; through the selection.
    yield simple("backward", params_of(3, 3, 3, 4, 5), B=2, H=4, G=2, N=17, Dk=3, Dv=2, backward=True, dtype=np.float64)
    # Of a token in two compressed blocks, one of them; a division by d in the place of one by l.
    yield simple("backward_overlapping", params_of(4, 2, 4, 4, 6), B=1, H=4, G=2, N=23, Dk=4, Dv=3, backward=True)
    yield simple("backward_paper_ratio", params_of(4, 2, 8, 4, 9, scale=0.75), B=1, H=2, G=1, N=37, Dk=3, Dv=4,
                 backward=True)
    # NaN in the rows without a complete block; gradients of keys that no one compresses: 0.
    yield simple("backward_no_complete_block", params_of(8, 4, 8, 3, 3), B=2, H=2, G=1, N=6, Dk=3, Dv=2, backward=True)
    yield nan_tail("backward_nan_tail", params_of(6, 3, 6, 4, 5), B=1, H=2, G=1, N=29, Dk=3, Dv=2, backward=True)

    # ---- Other compressors.
    # Weights in reverse; weights made to sum to 1; those of the keys for the values.
    yield simple("linear", params_of(4, 4, 4, 4, 5, compressor="linear"), B=2, H=4, G=2, N=22, Dk=4, Dv=3)
    yield simple("linear_overlapping", params_of(6, 2, 6, 4, 5, compressor="linear"), B=1, H=2, G=1, N=33, Dk=3, Dv=4)
    # The sequence's positions in the place of the block's; [D,l] in the place of [l,D]; GELU's tanh form; ReLU.
    yield simple("mlp", params_of(3, 3, 3, 4, 5, compressor="mlp"), B=2, H=4, G=2, N=20, Dk=5, Dv=3, Dh=7)
    yield simple("mlp_overlapping", params_of(4, 2, 8, 4, 6, compressor="mlp"), B=1, H=2, G=1, N=43, Dk=3, Dv=4, Dh=6,
                 dtype=np.float64)
    yield simple("mlp_no_complete_block", params_of(4, 2, 4, 3, 2, compressor="mlp"), B=1, H=2, G=1, N=3, Dk=3, Dv=2,
                 Dh=5)


def whole_gates(inputs):
    inputs["gates"] = np.round(inputs["gates"])


def equal_keys(inputs):
    inputs["k_compress"][:] = inputs["k_compress"][:, :, :1]


def one_block_wins(inputs):
    inputs["k_compress"][..., 0] = 0
    inputs["k_compress"][:, :, 8:12, 0] = 8192                      # compressed block 4, of selection block 2


def first_positive(name, x):
    if name == "q":
        x[..., 0] = np.abs(x[..., 0]) + 0.5
    return x


def all_of_it(name, params, gates, **shape):
    """A setting in which the branches whose gates are not 0 see what causal attention sees."""
    used = [branch for branch, gate in zip(("compress", "select", "window"), gates) if gate]

    def change(inputs):
        inputs["gates"][:] = gates
        for kind, branch in itertools.product("kv", used):
            inputs[f"{kind}_{branch}"] = inputs[f"{kind}_{used[0]}"]

    made = case(name, params, draw(name, params, change=change, **shape), note=(
        f" {sum(gates):g} times causal attention by the same function, without blocks or gates, agreed to 1e-12."))
    q, k, v = (torch.tensor(made.inputs[key], dtype=torch.float64) for key in ("q", f"k_{used[0]}", f"v_{used[0]}"))
    causal = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
    agree(torch.tensor(made.expected["out"]), sum(gates) * sdpa(q, k, v, causal, None))
    return made


def large_scores(name, params, **shape):
    """Multiples of 1/8 below 4, which 16 bits hold exactly, and so their mean over four tokens."""
    def tidy(tensor, x):
        return x if tensor == "gates" else np.clip(np.round(x * 8), -30, 30) / 8
    inputs = draw(name, params, tidy=tidy, **shape)
    assert np.abs(inputs["q"][:, :1] @ inputs["k_window"].swapaxes(2, 3)[:, :1]).max() * params["scale"] > 150
    return case(name, params, inputs)


# The NaN and infinities that follow are put in when the libraries have answered. `by_sets` is asked afterwards.

def nan_keys(name, params, **shape):
    inputs = draw(name, params, **shape)
    expected = by_libraries(inputs, params)
    inputs["k_select"][0, 1, 9, 2] = inputs["v_select"][0, 1, 9] = np.nan
    inputs["k_window"][0, 0, 13, 1] = inputs["v_window"][0, 0, 13] = np.nan
    select, window = seen(expected, params, 1, 9), np.arange(13, 13 + params["window"])
    assert 5 < len(select) < 20                                     # others do not select that block
    for output, heads, rows in (("out_select", slice(2, 4), select), ("out_window", slice(0, 2), window)):
        expected[output][0, heads, rows] = expected["out"][0, heads, rows] = np.nan
    return case(name, params, inputs, expected, (
        " They had finite keys and values. NaN was put afterwards into token 9 of k_select and v_select, key head 1, "
        "and token 13 of k_window and v_window, key head 0, of batch 0, and into the rows that see them."))


def seen(expected, params, head, token):
    """The rows of batch 0 that see a token of a key head in the selected branch."""
    chosen = (expected["selected"][0, head] == token // params["select_block"]).any(axis=-1)
    return np.flatnonzero(chosen & (np.arange(len(chosen)) >= token))


def infinite_values(name, params, **shape):
    inputs = draw(name, params, **shape)
    expected = by_libraries(inputs, params)
    inputs["v_select"][0, 0, 9, 0], inputs["v_window"][0, 1, 13, 1] = np.inf, -np.inf
    inputs["v_compress"][0, 0, 6, 2] = np.nan                       # its first block is complete at token 7
    window = np.arange(13, 13 + params["window"])
    for output, heads, rows, column, value in (("out_select", slice(0, 2), seen(expected, params, 0, 9), 0, np.inf),
                                               ("out_window", slice(2, 4), window, 1, -np.inf),
                                               ("out_compress", slice(0, 2), np.arange(7, 30), 2, np.nan)):
        expected[output][0, heads, rows, column] = expected["out"][0, heads, rows, column] = value
    return case(name, params, inputs, expected, (
        " They had finite values. Afterwards v_select[0,0,9,0] became inf, v_window[0,1,13,1] -inf, "
        "v_compress[0,0,6,2] NaN, and so did these columns of the rows that see them."))


def nan_tail(name, params, **shape):
    inputs = draw(name, params, **shape)
    expected = by_libraries(inputs, params)
    l, d, N = params["compress_block"], params["compress_stride"], shape["N"]
    end = (N - l) // d * d + l
    assert end < N
    inputs["k_compress"][:, :, end:], inputs["v_compress"][:, :, end:] = np.nan, -np.inf
    return case(name, params, inputs, expected, (
        f" They had finite numbers in k_compress and v_compress from token {end} on, which is in no complete block."))


def nan_compressed_key(name, params, **shape):
    inputs = draw(name, params, **shape)
    expected = by_libraries(inputs, params)
    inputs["k_compress"][0, 1, 9, 2] = np.nan                       # its first block is complete at token 9
    expected["out_compress"][0, 2:, 9:] = expected["out"][0, 2:, 9:] = np.nan
    return case(name, params, inputs, expected, (
        " They had a finite k_compress[0,1,9,2]. NaN was put there afterwards, and into rows 9 and later of "
        "out_compress and out, heads 2 and 3. All blocks are selected, whatever their importance."))


def infinite_key(name, params, **shape):
    def change(inputs):
        for branch in ("compress", "select", "window"):
            inputs[f"k_{branch}"][:, :, 7, 1] = -np.inf             # a score of -inf in every row

    def tidy(tensor, x):
        if tensor == "q":
            x[..., 1] = np.abs(x[..., 1]) + 0.25
        return x
    return case(name, params, draw(name, params, change=change, tidy=tidy, **shape))
