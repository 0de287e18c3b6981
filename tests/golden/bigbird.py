"""Golden cases of BigBird attention: first and last block global, a window of three blocks, random blocks.

`expected` comes from transformers' BigBirdBlockSparseAttention, in float64, wherever it can be asked. Its weights,
which make queries, keys and values of tokens, pick the given ones, unchanged; the plan of random blocks, which it
draws by itself, is made the given one. With fewer than four blocks it cannot be asked: it then lists a block twice, or
fails. There, `expected` comes from PyTorch's own attention with a mask from the set of each query, which agrees
with transformers in all other cases.

Quirks of transformers, the first of which the code that BigBird's authors published has as well:

    It lists blocks one after the other, so that a random block that is in the window too, or is global, or comes twice,
    weighs twice. Here a block counts once: its mask of random blocks hides all but one.
    In eval mode it draws nothing, and lists block 0 instead, r times more. Its plan is replaced in these cases;
    `drawn_by_transformers`, whose plan it draws, is made in training mode, which has no dropout here.
    It hides by adding -10000, here far below all scores: exp of that is 0 in float64.
"""
import numpy as np
import torch
from torch.nn.functional import pad
from transformers.models.big_bird.configuration_big_bird import BigBirdConfig
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

import sliding_window
from case import Case, random
from grouped_query import agree

PACKAGES = ["numpy", "torch", "transformers"]
ASKED = ("out: transformers.models.big_bird.modeling_big_bird.BigBirdBlockSparseAttention, in float64; its linear "
         "layers hold zeros and ones that pick q, k and v; its plan of random blocks is random_blocks")
COUNTED_ONCE = ", of which its mask hides what is -1 or listed already"
NOT_ASKED = ("out: torch.nn.functional.scaled_dot_product_attention, MATH backend, float64, explicit boolean mask from "
             "the set of each query.")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of BigBird's attention, as the chapters quote it. Every case below asserts that it agrees.
def bigbird(q, k, v, random_blocks, block, scale=None):                      # q, k [B,H,N,D], v [B,H,N,Dv]
    H, blocks = random_blocks.shape[:2]                                      # random_blocks [H,N/block,r], -1: none
    I = torch.arange(blocks)
    sees = (I[:, None] - I).abs() <= 1                                       # [N/block,N/block]: a window of 3 blocks
    sees[[0, -1]] = sees[:, [0, -1]] = True                                  # the first and last block: global
    drawn = torch.zeros(H, blocks, blocks + 1, dtype=torch.bool)             # one more column: -1 is the last one
    drawn.scatter_(2, random_blocks.long() % (blocks + 1), True)             # a set: twice is once
    visible = sees | drawn[..., :-1]                                         # [H,N/block,N/block]
    visible = visible.repeat_interleave(block, dim=1).repeat_interleave(block, dim=2)        # [H,N,N]
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)    # [B,H,N,N]
    return scores.masked_fill(~visible, -torch.inf).softmax(dim=-1) @ v      # [B,H,N,Dv]


def blocks_of(random_blocks):
    """[head][block of queries]: the set of key blocks that it sees."""
    H, blocks, _ = random_blocks.shape
    everything = set(range(blocks))
    return [[everything if i in (0, blocks - 1) else
             {0, blocks - 1, i - 1, i, i + 1} | {int(j) for j in random_blocks[h, i]} - {-1}
             for i in range(blocks)] for h in range(H)]


def sets_of(random_blocks, block):
    """[head][query]: the set of keys that it sees."""
    return [[{j * block + offset for j in row for offset in range(block)} for row in rows for _ in range(block)]
            for rows in blocks_of(random_blocks)]


def by_sets(inputs, block, scale):
    """Heads have masks of their own, so one head at a time."""
    sets = sets_of(inputs["random_blocks"], block)
    return np.concatenate([
        sliding_window.by_sets({x: inputs[x][:, h:h + 1] for x in ("q", "k", "v")}, sets[h], scale)["out"]
        for h in range(len(sets))], axis=1)


class Given(BigBirdBlockSparseAttention):
    """With a plan that is given, and a mask of it: [H,blocks-2,r] each, of all blocks of queries but first and last."""
    plan = visible = None

    def _bigbird_block_rand_mask_with_head(self, *sizes, **more_sizes):
        return list(self.plan)

    def _create_rand_mask_from_inputs(self, from_blocked_mask, *rest):       # [B,H,blocks-2,block,r*block]
        block = from_blocked_mask.shape[2]
        mask = torch.tensor(self.visible, dtype=torch.float64).repeat_interleave(block, dim=-1)
        return mask[None, :, :, None].expand(len(from_blocked_mask), -1, -1, block, -1)


def by_module(t, layer_of, block, scale):
    """[B,H,N,Dv] by transformers. A token is [q, k, v] of all heads, of E elements each; that is its one head
    dimension, and it scales by 1/sqrt(E)."""
    q, k, v = t["q"], t["k"], t["v"]
    (B, H, N, D), Dv = q.shape, v.shape[3]
    E, r = 2 * D + Dv, t["random_blocks"].shape[2]
    layer = layer_of(BigBirdConfig(hidden_size=H * E, num_attention_heads=H, block_size=block, num_random_blocks=r,
                                   max_position_embeddings=N, use_bias=False)).double()
    heads, weights = torch.eye(H, dtype=torch.float64), {}
    for name, start, width in (("query", 0, D), ("key", D, D), ("value", 2 * D, Dv)):
        pick = pad(torch.eye(width, dtype=torch.float64), (start, E - start - width, 0, E - width))       # [E,E]
        factor = ((D ** -0.5 if scale is None else scale) * E ** 0.5) if name == "query" else 1
        weights[name + ".weight"] = torch.kron(heads, pick) * factor
    layer.load_state_dict(weights)

    tokens = torch.cat((q, k, v), dim=-1).transpose(1, 2).flatten(2)         # [B,N,HE]
    blocked, band, from_mask, to_mask = BigBirdModel.create_masks_for_block_sparse_attn(
        torch.ones(B, N, dtype=torch.float64), block)
    with torch.no_grad():
        out, _ = layer(tokens, band_mask=band, from_mask=from_mask, to_mask=to_mask, from_blocked_mask=blocked,
                       to_blocked_mask=blocked)                              # [B,N,HE]: v, then zeros
    return out.unflatten(-1, (H, E))[..., :Dv].transpose(1, 2)


def given(random_blocks):
    """Of the random blocks in each row, what the window and the global blocks do not list already, and not twice."""
    H, blocks, r = random_blocks.shape
    visible = np.zeros((H, blocks, r))
    for h in range(H):
        for i in range(blocks):
            listed = {-1, 0, blocks - 1, i - 1, i, i + 1}
            for n, j in enumerate(int(j) for j in random_blocks[h, i]):
                visible[h, i, n] = j not in listed
                listed.add(j)

    def layer_of(config):
        layer = Given(config).eval()
        layer.plan, layer.visible = np.maximum(random_blocks[:, 1:-1], 0), visible[:, 1:-1]
        return layer
    return layer_of, bool(visible[:, 1:-1].all())


def expected(inputs, params, layer_of=None):
    """What must come out for finite inputs, and who says so."""
    block, scale = params["block"], params.get("scale")
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    out = by_sets(inputs, block, scale)
    agree(bigbird(*t.values(), block, scale), out)
    if inputs["random_blocks"].shape[1] < 4:
        return {"out": out}, NOT_ASKED
    given_layer, as_it_is = given(inputs["random_blocks"])
    theirs = by_module(t, layer_of or given_layer, block, scale)
    agree(theirs, out)
    return {"out": theirs.numpy().copy()}, ASKED + ("" if as_it_is else COUNTED_ONCE) + "."


def draw(name, B, H, N, D, Dv, block, r, dtype=np.float64, coarse=False):
    """As in dense.py; a row of random_blocks has r of the blocks that it would not see otherwise, or all, then -1."""
    source = random("bigbird", name)
    shapes = {"q": (B, H, N, D), "k": (B, H, N, D), "v": (B, H, N, Dv)}
    tensors = {key: source.standard_normal(shape) for key, shape in shapes.items()}
    tensors = {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}
    blocks = N // block
    drawn = np.full((H, blocks, r), -1, dtype=np.int32)
    for h in range(H):
        for i in range(blocks):
            others = sorted(set(range(1, blocks - 1)) - {i - 1, i, i + 1})
            some = source.permutation(others)[:r].astype(np.int32)
            drawn[h, i, :len(some)] = some
    return tensors | {"random_blocks": drawn}


def cases():
    def simple(name, r, block, plan=None, change=None, times=1, shape=None, **params):
        """`plan` may alter random_blocks; `change` may alter inputs and outputs afterwards, and returns what to say."""
        params = {"block": block} | params
        inputs = draw(name, *shape[:5], block, r, *shape[5:], coarse=times != 1)
        inputs["q"] *= times
        if plan:
            inputs["random_blocks"] = plan(inputs["random_blocks"])
        outputs, origin = expected(inputs, params)
        return Case(name, params, inputs, outputs, origin + (change(inputs, outputs["out"], params) if change else ""))

    # The wrong answer that a case kills stands above it. `shape` is B, H, N, D, Dv.

    # Any exchange of two of B, H, N, D, Dv, r; the plan of head 0 for all heads, or that of the batch.
    yield simple("plain", 2, 2, shape=(2, 3, 16, 5, 3))
    # `scale: null` read as 0; float32 files read as float64.
    yield simple("plain_float32", 3, 3, scale=None, shape=(1, 2, 30, 4, 6, np.float32))
    # Another layout of the plan: [H,r,N/block] fits as well.
    yield simple("plan_square", 7, 2, shape=(1, 2, 14, 4, 3))
    # int64 read as int32: every second entry would be 0 or -1.
    yield simple("plan_int64", 2, 2, lambda plan: plan.astype(np.int64), shape=(1, 2, 18, 3, 4))
    # Only what transformers draws itself, and not with its masks replaced.
    yield drawn_by_transformers("drawn_by_transformers")

    # -1 read as a block: the one before the first or, as by Python, the last, a second time. No row has a random block.
    yield simple("no_random_blocks", 1, 2, lambda plan: np.full_like(plan, -1), shape=(1, 2, 16, 4, 3))
    # The first -1 taken for the end; rows that start with it; rows of different lengths.
    yield simple("padding_anywhere", 4, 2, padding_anywhere, shape=(1, 3, 24, 3, 4))
    # A block counted twice: random blocks in the window, and global ones; block 0 in every row, as transformers does
    # in eval mode.
    yield simple("random_in_window", 3, 2, random_in_window, shape=(1, 2, 20, 4, 3))
    yield simple("random_first_block", 2, 2, lambda plan: np.zeros_like(plan), shape=(1, 2, 12, 4, 3))
    # And twice in the plan.
    yield simple("random_repeated", 3, 3, lambda plan: np.repeat(plan[..., :1], 3, axis=2), shape=(1, 2, 27, 3, 4))
    # What the plan says of the first and the last row taken for all that they see, or refused.
    yield simple("first_and_last_row", 2, 2, first_and_last_row, shape=(1, 2, 16, 4, 3))
    # The plan in descending order, as random numbers come.
    yield simple("descending", 4, 1, lambda plan: -np.sort(-plan, axis=2), shape=(1, 2, 11, 3, 4))

    # All the blocks there are, the same for everybody: the answer is dense attention's.
    yield simple("all_blocks", 5, 2, shape=(1, 2, 16, 4, 3))
    # Blocks -1 and N/block in the window; a first block that is the last as well, counted twice.
    yield simple("one_block", 1, 5, shape=(2, 2, 5, 3, 4))
    yield simple("two_blocks", 1, 3, shape=(1, 2, 6, 4, 3))
    # The window of the middle block is all; its neighbours are global.
    yield simple("three_blocks", 1, 3, shape=(1, 2, 9, 4, 3))
    yield simple("four_blocks", 2, 2, shape=(1, 2, 8, 3, 4))
    # Rows 1 and 3 have one block left to draw.
    yield simple("five_blocks", 1, 3, shape=(1, 2, 15, 4, 3))
    yield simple("one_element", 1, 1, shape=(1, 1, 1, 1, 1))
    # A block of one position.
    yield simple("block_one", 2, 1, shape=(2, 2, 13, 4, 3))
    # A block that no power of two divides.
    yield simple("block_seven", 1, 7, shape=(1, 2, 42, 3, 5))

    # 1/sqrt(D) on top of the given scale, or on some blocks only.
    yield simple("custom_scale", 2, 2, scale=0.3, shape=(1, 2, 16, 7, 3))
    # `if (scale)`: 0 taken for absent. The answer is the mean of the values that are seen.
    yield simple("zero_scale", 2, 2, scale=0, shape=(1, 2, 14, 3, 5))
    # exp without the maximum subtracted; the maximum taken before the scale.
    yield simple("large_logits", 2, 2, times=16, scale=1.875, shape=(2, 2, 16, 4, 5))
    yield simple("negative_scale", 1, 3, times=16, scale=-1, shape=(1, 2, 21, 8, 4))
    # The maximum over hidden blocks too: a key is the largest by far, for the rows that see it.
    yield outlier_key("outlier_key")

    # A forgotten last tile of keys, or one read beyond its end; blocks larger than a tile of 8 or 16.
    yield simple("tile_90", 1, 18, shape=(1, 1, 90, 5, 4, np.float32))
    # Many blocks in a tile of 32 or 64 queries, with a list each.
    yield simple("tile_65", 3, 1, shape=(1, 2, 65, 4, 5, np.float32))
    yield simple("tile_96", 2, 16, shape=(1, 1, 96, 8, 4, np.float32))

    # A NaN swallowed; or, with a mask that is added or multiplied, spread to rows and heads that do not see its block.
    yield simple("nan_key", 1, 2, None, nan_at("k", 9), shape=(1, 2, 20, 4, 3))
    yield simple("nan_value", 1, 2, None, nan_at("v", 8), shape=(1, 2, 20, 4, 3))
    # NaN in the last block: every row sees it.
    yield simple("nan_global_value", 1, 2, None, nan_at("v", 13), shape=(1, 2, 14, 4, 3))
    # Infinite values clipped, turned into NaN, or seen from outside.
    yield simple("infinite_values", 1, 2, None, infinite_values, shape=(1, 2, 20, 4, 3))


# ---- plans that are not drawn

def padding_anywhere(plan):
    plan[:, 1::4, 0] = -1
    plan[:, 2::4, 1:3] = -1
    plan[:, 3::4, :3] = -1
    plan[1, ::2] = plan[1, ::2, ::-1]
    return plan


def random_in_window(plan):
    blocks = plan.shape[1]
    i = np.arange(blocks, dtype=np.int32)
    plan[0, :, 0] = i                                           # the own block
    plan[0, :, 2] = np.minimum(i + 1, blocks - 1)
    plan[1, :, 0] = np.maximum(i - 1, 0)
    plan[1, :, 1] = blocks - 1
    return plan


def first_and_last_row(plan):
    plan[0, 0], plan[0, -1] = [3, 3], [-1, 1]
    plan[1, 0], plan[1, -1] = -1, [0, 7]
    return plan


def drawn_by_transformers(name):
    """The plan is what transformers draws. It seeds NumPy's global generator for that."""
    r, block, seed, (B, H, N) = 2, 2, 7, (2, 3, 22)
    inputs, params = draw(name, B, H, N, 4, 3, block, r), {"block": block}

    def layer_of(config):
        return BigBirdBlockSparseAttention(config, seed=seed).train()
    layer = layer_of(BigBirdConfig(hidden_size=H, num_attention_heads=H, block_size=block, num_random_blocks=r))
    state = np.random.get_state()
    np.random.seed(seed)
    lengths, numbers = layer._get_rand_attn_plan(N, block, r)
    plan = layer._bigbird_block_rand_mask_with_head(N, N, block, block, H, lengths, numbers)
    inputs["random_blocks"][:, 1:-1] = np.stack(plan)
    inputs["random_blocks"][:, [0, -1]] = -1
    outputs, origin = expected(inputs, params, layer_of)
    np.random.set_state(state)
    return Case(name, params, inputs, outputs, origin.replace("its plan of random blocks is random_blocks", (
        f"random_blocks is the plan that it draws in training mode with seed {seed}, and -1 where it draws none, in "
        "the first and last row")))


def outlier_key(name):
    inputs, params = draw(name, 1, 2, 20, 4, 3, block=2, r=1, coarse=True), {"block": 2}
    inputs["q"][..., 0] = np.abs(inputs["q"][..., 0]) + 1
    inputs["k"][:, :, 9] = [2048, 0, 0, 0]                      # a score of 1024 and more
    return Case(name, params, inputs, *expected(inputs, params))


# ---- what is put into inputs and outputs afterwards

def seeing(inputs, params, key):
    """[head]: the rows that see a key."""
    return [[i for i, keys in enumerate(sets) if key in keys]
            for sets in sets_of(inputs["random_blocks"], params["block"])]


def nan_at(name, key):
    def change(inputs, out, params):
        rows = seeing(inputs, params, key)[1]
        inputs[name][0, 1, key, 2] = np.nan
        if name == "v":
            out[0, 1, rows, 2] = np.nan
        else:
            out[0, 1, rows] = np.nan
        return (f" {name}[0,1,{key},2] was finite. NaN was put there afterwards, and into "
                f"{'column 2 of ' if name == 'v' else ''}the rows of head 1 that see it: {rows}.")
    return change


def infinite_values(inputs, out, params):
    inputs["v"][:, :, 9, 0], inputs["v"][:, :, 2, 1], inputs["v"][:, :, 19, 1] = np.inf, np.inf, -np.inf
    for h in range(inputs["q"].shape[1]):
        plus, both = seeing(inputs, params, 9)[h], seeing(inputs, params, 2)[h]
        out[:, h, plus, 0] = np.inf
        out[:, h, :, 1] = -np.inf                               # all rows see the last block
        out[:, h, both, 1] = np.nan                             # inf - inf
    return (" Values were finite. Infinite ones were put in afterwards: v[:,:,9,0] and v[:,:,2,1] are inf, "
            "v[:,:,19,1] is -inf, and so is what sees one of them; what sees both of the latter is NaN.")
