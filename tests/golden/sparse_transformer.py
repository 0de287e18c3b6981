"""Golden cases of the Sparse Transformer's attention: strided and fixed, causal.

`expected` comes from PyTorch's own attention, in float64, with a boolean mask filled in from the set of each query. The
sets are those of the paper (Child et al. 2019, section 4.3), with stride l, summary c and both parts of j <= i:

    strided   first   A1 = {t, ..., i}, t = max(0, i - l)      here i - l + 1: l keys, query's own included
              second  A2 = {j : (i - j) mod l = 0}
    fixed     first   A1 = {j : floor(j / l) = floor(i / l)}
              second  A2 = {j : j mod l in {l - c, ..., l}}    here l - c, ..., l - 1: nothing mod l is l

In both, the paper's text has one key more than its own l or c say; the first is one fewer in its authors' code, too
(openai/sparse_attention, attention.py: a local context of l is l keys). `merged` is the union, in which a key counts
once; there, the key i - l is seen either way, through A2. Others are asked as well, and must agree:

    flex_attention   of PyTorch, with the mask as a function of two positions: everything
    transformers     its mask of a sliding window is strided A1, its mask of chunks fixed A1
    causal dense     attention: strided A2 is that of each residue class mod l by itself, fixed A1 that of each block
    DeepSpeed        its FixedSparsityConfig, with blocks of one position and cut to j <= i, is fixed merged; it wants c
                     to divide l. Its global part alone is fixed A2 where l divides N; else it has the last c positions
                     in it as well
"""
import importlib.util
import pathlib
import sys

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import masking_utils

import sliding_window
from case import Case, random
from grouped_query import agree

PACKAGES = ["numpy", "torch", "transformers", "deepspeed"]
ORIGIN = ("out: torch.nn.functional.scaled_dot_product_attention, MATH backend, float64, explicit boolean mask from "
          "the set of each query; torch.nn.attention.flex_attention with a mask_mod agreed to 1e-12")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of it, as the chapters quote it. Every case below asserts that it agrees.
def sparse_transformer(q, k, v, pattern, stride, summary=None, part="merged", scale=None):
    N, D = q.shape[2:]                                                       # q, k [B,H,N,D], v [B,H,N,Dv]
    i, j = torch.arange(N)[:, None], torch.arange(N)
    if pattern == "strided":
        first, second = i - j < stride, (i - j) % stride == 0                # [N,N] each
    else:
        first, second = i // stride == j // stride, (j % stride >= stride - summary).expand(N, N)
    visible = {"merged": first | second, "first": first, "second": second}[part] & (j <= i)
    scores = (q @ k.mT * (D ** -0.5 if scale is None else scale)).masked_fill(~visible, -torch.inf)
    lowest = torch.finfo(scores.dtype).min                                   # no key in sight: exp(-inf) = 0, not NaN
    weights = (scores - scores.logsumexp(dim=-1, keepdim=True).clamp(min=lowest)).exp()      # [B,H,N,N]
    return weights @ v                                                       # [B,H,N,Dv]


def sets_of(N, pattern, stride, summary, part):
    """For each query, the keys that it sees."""
    sets = []
    for i in range(N):
        past = range(i + 1)
        if pattern == "strided":
            first, second = set(past[-stride:]), set(past[::-1][::stride])
        else:
            first = set(past[i - i % stride:])
            second = {j for block in range(0, N, stride) for j in range(block + stride - summary, block + stride)}
            second &= set(past)
        sets.append({"merged": first | second, "first": first, "second": second}[part])
    return sets


def deepspeed_config():
    """Importing deepspeed looks for compilers and GPUs. This file of it needs no more than PyTorch."""
    spec = importlib.util.find_spec("deepspeed")
    if not spec:
        sys.exit("there is no deepspeed; requirements.txt says how to install it")
    file = pathlib.Path(spec.origin).parent / "ops/sparse_attention/sparsity_config.py"
    spec = importlib.util.spec_from_file_location("sparsity_config", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FixedSparsityConfig


FixedSparsityConfig = deepspeed_config()


def by_deepspeed(N, stride, summary, part):
    """[N,N], or None where it means something else."""
    if stride % summary or part == "first" or (part == "second" and N % stride):
        return None
    config = FixedSparsityConfig(num_heads=1, block=1, num_local_blocks=stride, num_global_blocks=summary,
                                 attention="unidirectional")
    layout = config.make_layout(N) if part == "merged" else config.set_global_layout(0, config.setup_layout(N))
    return layout[0].bool().tril()


def by_transformers(N, pattern, stride, part):
    """[N,N], or None."""
    if part != "first":
        return None
    if pattern == "strided":
        sees = masking_utils.sliding_window_causal_mask_function(stride)
    else:
        sees = masking_utils.chunked_causal_mask_function(stride, torch.zeros(1, dtype=int))
    return masking_utils.sdpa_mask(batch_size=1, q_length=N, kv_length=N, mask_function=sees,
                                   allow_is_causal_skip=False)[0, 0]


def by_classes(q, k, v, pattern, stride, part, scale):
    """[B,H,N,Dv], or None: causal dense attention of each class of positions that know only each other."""
    N = q.shape[2]
    if (pattern, part) == ("strided", "second"):
        classes = [slice(r, N, stride) for r in range(min(stride, N))]
    elif (pattern, part) == ("fixed", "first"):
        classes = [slice(start, start + stride) for start in range(0, N, stride)]
    else:
        return None
    out = torch.empty_like(v)
    for some in classes:
        out[:, :, some] = scaled_dot_product_attention(*(t[:, :, some] for t in (q, k, v)), is_causal=True, scale=scale)
    return out


def sees(i, j, pattern, stride, summary, part):
    first = (i - j < stride) if pattern == "strided" else (j >= i - i % stride)
    second = ((i - j) % stride == 0) if pattern == "strided" else (j % stride + summary >= stride)
    return (j <= i) & {"merged": first | second, "first": first, "second": second}[part]


def expected(inputs, params):
    """What must come out for finite inputs, and who says so."""
    pattern, stride, summary = params["pattern"], params["stride"], params.get("summary")
    part, scale = params.get("part", "merged"), params.get("scale")
    q, k, v = (torch.tensor(inputs[name], dtype=torch.float64) for name in ("q", "k", "v"))
    N, text = q.shape[2], ORIGIN
    sets = sets_of(N, pattern, stride, summary, part)
    if any(sets):
        out = sliding_window.by_sets({"q": inputs["q"], "k": inputs["k"], "v": inputs["v"]}, sets, scale)["out"]
    else:
        out = np.zeros(v.shape)

    agree(sparse_transformer(q, k, v, pattern, stride, summary, part, scale), out)
    agree(sliding_window.by_flex(q, k, v, lambda i, j: sees(i, j, pattern, stride, summary, part), scale)[0], out)
    theirs = by_classes(q, k, v, pattern, stride, part, scale)
    if theirs is not None:
        agree(theirs, out)
        text += "; so did scaled_dot_product_attention, is_causal=True, of each " + (
            "residue class mod stride by itself" if pattern == "strided" else "block by itself")
    mask = torch.tensor([[j in keys for j in range(N)] for keys in sets])
    for who, theirs in (("transformers.masking_utils", by_transformers(N, pattern, stride, part)),
                        ("deepspeed.ops.sparse_attention.FixedSparsityConfig, block=1",
                         by_deepspeed(N, stride, summary, part) if pattern == "fixed" else None)):
        if theirs is not None:
            assert torch.equal(theirs, mask), f"{who} has another mask"
            text += f"; the mask is that of {who}"
    blind = sum(not keys for keys in sets)
    if blind:
        text += (f". Queries 0 to {blind - 1} see no key: PyTorch's dense attention was not asked about them; out 0 is "
                 "filled in by definition")
    return {"out": out}, text + "."


def draw(name, B, H, N, D, Dv, dtype=np.float64, coarse=False):
    """As in dense.py: standard normal; `coarse`: multiples of 1/16, which every 16-bit format holds exactly."""
    normal = random("sparse_transformer", name).standard_normal
    tensors = {key: normal((B, H, N, Dv if key == "v" else D)) for key in ("q", "k", "v")}
    return {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}


def cases():
    def simple(name, change=None, times=1, shape=None, **params):
        """`change` may alter inputs and outputs afterwards; it returns what to say about it."""
        inputs = draw(name, *shape, coarse=times != 1)
        inputs["q"] *= times
        outputs, origin = expected(inputs, params)
        return Case(name, params, inputs, outputs, origin + (change(inputs, outputs["out"], params) if change else ""))

    def strided(name, stride, part=None, **others):
        part = {} if part is None else {"part": part}
        return simple("strided_" + name, pattern="strided", stride=stride, **part, **others)

    def fixed(name, stride, summary, part=None, **others):
        part = {} if part is None else {"part": part}
        return simple("fixed_" + name, pattern="fixed", stride=stride, summary=summary, **part, **others)

    # The wrong answer that a case kills stands above it. `shape` is B, H, N, D, Dv.

    # The own key, which is in both parts, counted twice; any exchange of two of B, H, N, D, Dv.
    yield strided("default", 4, shape=(2, 3, 14, 5, 3))
    yield strided("merged", 5, "merged", shape=(1, 2, 23, 4, 6))
    # l + 1 local keys.
    yield strided("first", 4, "first", shape=(2, 2, 14, 4, 3))
    # j mod l = 0 in the place of (i - j) mod l = 0; the own key left out.
    yield strided("second", 4, "second", shape=(2, 2, 14, 4, 3))
    # A transposition to l columns, which needs that l divides N: here it does, there it did not.
    yield strided("second_whole", 4, "second", shape=(1, 2, 16, 3, 5))
    yield strided("merged_whole", 3, "merged", shape=(1, 2, 12, 3, 4))

    # Fixed as strided: block borders that move with the query; c + 1 summary columns; a summary column of the own block
    # counted twice.
    yield fixed("default", 4, 1, shape=(2, 3, 14, 5, 3))
    yield fixed("merged", 6, 2, "merged", shape=(1, 2, 21, 4, 6))
    yield fixed("first", 4, 2, "first", shape=(2, 2, 14, 4, 3))
    # Summary columns after the query; NaN, or the mean of all values, in the first rows, which see no key.
    yield fixed("second", 5, 2, "second", shape=(2, 2, 17, 4, 3))
    yield fixed("second_whole", 4, 1, "second", shape=(1, 2, 16, 3, 5))
    # The last block is cut inside of its summary columns: one of three is there.
    yield fixed("second_cut", 5, 3, "second", shape=(1, 2, 13, 4, 3))
    yield fixed("merged_cut", 5, 3, "merged", shape=(1, 2, 13, 4, 3))

    # Stride 1: first is the own key, second everything; merged is dense attention.
    yield strided("one_first", 1, "first", shape=(1, 2, 9, 3, 4))
    yield strided("one_second", 1, "second", shape=(1, 2, 9, 3, 4))
    yield strided("one_merged", 1, "merged", shape=(1, 2, 9, 3, 4))
    # With a stride of N or more, second is the own key only; i - l < 0 in unsigned numbers.
    yield strided("longer_second", 40, "second", shape=(1, 2, 7, 4, 3))
    yield strided("longer_merged", 40, "merged", shape=(1, 2, 7, 4, 3))
    yield strided("all_first", 9, "first", shape=(1, 2, 9, 4, 3))
    # The only pair that is hidden, (N - 1, 0), is seen after all.
    yield strided("all_but_one", 8, "merged", shape=(1, 2, 10, 4, 3))
    # 2^31 - 1: i + l overflows.
    yield strided("huge", 2 ** 31 - 1, shape=(1, 1, 6, 3, 2))

    # Every column a summary: second and merged are dense attention, and no row is blind.
    yield fixed("all_summary_second", 3, 3, "second", shape=(1, 2, 11, 4, 3))
    yield fixed("all_summary_merged", 4, 4, "merged", shape=(1, 2, 11, 4, 3))
    yield fixed("one", 1, 1, "first", shape=(1, 2, 7, 4, 3))
    # One block that is not full. It has no summary column: nobody sees anything, and all is poisoned.
    yield fixed("longer_second", 20, 4, "second", change=poison_unseen, shape=(1, 2, 9, 4, 3))
    yield fixed("longer_merged", 20, 4, "merged", shape=(1, 2, 9, 4, 3))
    # The only key that is a summary is the last.
    yield fixed("last_key_second", 9, 1, "second", shape=(1, 2, 9, 3, 4))
    # c that does not divide l.
    yield fixed("summary_three_of_seven", 7, 3, shape=(1, 2, 24, 3, 4))

    # `scale: null` read as 0; float32 files read as float64.
    yield strided("float32", 3, scale=None, shape=(1, 2, 20, 6, 4, np.float32))
    yield fixed("float32", 4, 2, scale=None, shape=(1, 2, 22, 4, 6, np.float32))
    # 1/sqrt(D) on top of the given scale, or on one of the parts only.
    yield strided("custom_scale", 4, scale=0.3, shape=(1, 2, 15, 7, 3))
    # `if (scale)`: 0 taken for absent. The answer is the mean of the values that are seen, each of them once.
    yield strided("zero_scale", 4, scale=0, shape=(1, 2, 15, 3, 5))
    yield fixed("zero_scale", 5, 2, scale=0, shape=(1, 2, 14, 3, 5))
    # exp without the maximum subtracted; two parts with a maximum each, and no correction.
    yield strided("large_logits", 4, times=16, scale=1.875, shape=(2, 2, 14, 4, 5))
    yield fixed("large_logits", 5, 2, times=16, scale=1.875, shape=(1, 2, 17, 4, 5))
    # The maximum taken before the scale.
    yield fixed("negative_scale", 4, 1, times=16, scale=-1, shape=(1, 2, 18, 8, 4))
    # The maximum over hidden keys too: key 3 is the largest by far.
    yield outlier_key("strided_outlier_key", {"pattern": "strided", "stride": 5})
    yield outlier_key("fixed_outlier_key", {"pattern": "fixed", "stride": 6, "summary": 1})
    yield strided("one_element", 1, shape=(1, 1, 1, 1, 1))
    yield fixed("one_element_blind", 2, 1, "second", shape=(1, 1, 1, 2, 3))

    # A forgotten last tile, or one read beyond its end; stride and tile of 8, 16, 32, 64 in all positions.
    yield strided("tile_65", 8, shape=(1, 2, 65, 5, 4, np.float32))
    yield strided("tile_70", 9, shape=(1, 1, 70, 6, 5))
    yield strided("tile_second_66", 7, "second", shape=(1, 1, 66, 6, 5))
    yield fixed("tile_65", 16, 3, shape=(1, 2, 65, 5, 4, np.float32))
    yield fixed("tile_70", 12, 5, shape=(1, 1, 70, 6, 5))
    yield fixed("tile_second_75", 20, 2, "second", shape=(1, 1, 75, 5, 4))
    # A block that is longer than a tile of 32.
    yield fixed("tile_long_block", 40, 2, shape=(1, 1, 83, 4, 3))

    # 0 * NaN: the keys that are no summary are NaN or infinite, and so is q of the rows that see nothing.
    yield fixed("second_poisoned", 5, 2, "second", change=poison_unseen, shape=(1, 2, 17, 4, 3))
    # A NaN swallowed; or, with a mask that is added or multiplied, spread to rows that do not see the key.
    yield strided("nan_key", 4, change=nan_at("k", 3), shape=(1, 2, 14, 4, 3))
    yield strided("second_nan_key", 4, "second", change=nan_at("k", 3), shape=(1, 2, 14, 4, 3))
    yield fixed("nan_key", 4, 1, change=nan_at("k", 2), shape=(1, 2, 14, 4, 3))
    yield fixed("nan_summary_value", 4, 1, change=nan_at("v", 3), shape=(1, 2, 14, 4, 3))
    yield strided("nan_value", 5, change=nan_at("v", 2), shape=(1, 2, 16, 4, 3))


def outlier_key(name, params):
    inputs = draw(name, 1, 2, 20, 4, 3, coarse=True)
    inputs["q"][..., 0] = np.abs(inputs["q"][..., 0]) + 1
    inputs["k"][:, :, 3] = [2048, 0, 0, 0]                      # a score of 1024 and more
    return Case(name, params, inputs, *expected(inputs, params))


# ---- what is put into inputs and outputs afterwards

def rows_that_see(inputs, params, key):
    sets = sets_of(inputs["q"].shape[2], params["pattern"], params["stride"], params.get("summary"),
                   params.get("part", "merged"))
    return [i for i, keys in enumerate(sets) if key in keys]


def poison_unseen(inputs, out, params):
    N = inputs["q"].shape[2]
    seen = {key for key in range(N) if rows_that_see(inputs, params, key)}
    see = {i for key in range(N) for i in rows_that_see(inputs, params, key)}
    unseen, blind = sorted(set(range(N)) - seen), sorted(set(range(N)) - see)
    for name, positions in (("q", blind), ("k", unseen), ("v", unseen)):
        inputs[name][:, :, positions], inputs[name][:, :, positions[1::3]] = np.nan, np.inf
    return (f" All was finite. NaN and infinities were put afterwards into k and v of {unseen}, which nobody sees, and "
            f"into q of {blind}.")


def nan_at(name, key):
    def change(inputs, out, params):
        rows = rows_that_see(inputs, params, key)
        inputs[name][0, 1, key, 2] = np.nan
        if name == "v":
            out[0, 1, rows, 2] = np.nan
        else:
            out[0, 1, rows] = np.nan
        return (f" {name}[0,1,{key},2] was finite. NaN was put there afterwards, and into "
                f"{'column 2 of ' if name == 'v' else ''}the rows of head 1 that see it: {rows}.")
    return change
