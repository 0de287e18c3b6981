"""Golden cases of grouped-query attention, at once and through a KV cache.

`expected` has three sources. `out` comes from the attention function of the Llama models of transformers, in float64;
`log_sum_exp` and the gradients come as those of dense.py: from scores formed by themselves, and from autograd through
PyTorch's attention. Where they overlap they must agree. What goes through a cache must be what causal attention gives
at once; transformers' own cache is asked too.
"""
import contextlib
import types
from unittest import mock

import numpy as np
import torch
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral

import dense
from case import Case, random

PACKAGES = ["numpy", "torch", "transformers"]
ORIGIN = ("out: transformers.models.llama.modeling_llama.eager_attention_forward with its repeat_kv, additive mask, in "
          "float64, its softmax too, which asks for float32; log_sum_exp: torch.logsumexp of scores formed by "
          "themselves; gradients, if any: torch.autograd through torch.nn.functional.scaled_dot_product_attention, "
          "enable_gqa=True, MATH backend, float64, explicit boolean mask.")
CACHED = (" Computed at once, as causal attention; the same, prefilled and then one token at a time through "
          "transformers.cache_utils.DynamicCache, agreed to 1e-12. The page does not show in the numbers.")


# The whole of grouped-query attention, as the chapters quote it. Every case asserts that it agrees with transformers.
def grouped_query_attention(q, k, v, causal=False, scale=None):     # q [B,H,Nq,D], k [B,G,Nk,D], v [B,G,Nk,Dv]
    (H, Nq, D), (G, Nk) = q.shape[1:], k.shape[1:3]
    q = q.unflatten(1, (G, H // G))                                          # [B,G,H/G,Nq,D]: head h reads h / (H/G)
    k, v = k[:, :, None], v[:, :, None]                                      # [B,G,1,Nk,D], [B,G,1,Nk,Dv]: not copied
    scores = q @ k.mT * (D ** -0.5 if scale is None else scale)              # [B,G,H/G,Nq,Nk]
    if causal:                                                               # query i sees keys j <= i + Nk - Nq
        visible = torch.ones(Nq, Nk, dtype=torch.bool).tril(Nk - Nq)         # the same for every head of a group
        scores = scores.masked_fill(~visible, -torch.inf)
    log_sum_exp = scores.logsumexp(dim=-1)                                   # [B,G,H/G,Nq]
    lowest = torch.finfo(scores.dtype).min                                   # no key in sight: exp(-inf) = 0, not NaN
    weights = (scores - log_sum_exp.clamp(min=lowest)[..., None]).exp()
    return (weights @ v).flatten(1, 2), log_sum_exp.flatten(1, 2)            # [B,H,Nq,Dv], [B,H,Nq]


# The same through a KV cache: the first `prefill` tokens at once, then one at a time. Quoted and asserted as well.
def through_cache(q, k, v, prefill, scale=None):                             # q [B,H,N,D], k [B,G,N,D], v [B,G,N,Dv]
    keys, values, parts = k[:, :, :0], v[:, :, :0], []                       # an empty cache
    for new in torch.arange(q.shape[2]).split([prefill] + [1] * (q.shape[2] - prefill)):
        keys = torch.cat((keys, k[:, :, new]), dim=2)                        # first append ...
        values = torch.cat((values, v[:, :, new]), dim=2)
        parts.append(grouped_query_attention(q[:, :, new], keys, values, True, scale))      # ... then attend
    return tuple(torch.cat(part, dim=2) for part in zip(*parts))             # [B,H,N,Dv], [B,H,N]


# And through a paged one. Position t is in slot t % page of page table[t / page]; what is not written yet is NaN.
def through_pages(q, k, v, prefill, page, scale=None):
    N, parts = q.shape[2], []
    table = torch.arange((N + page - 1) // page).flip(0)                     # the pages lie in any order, say backwards
    slots = (table[:, None] * page + torch.arange(page)).flatten()[:N]       # [N]: where each position is kept
    keys, values = (x.new_full((*x.shape[:2], len(table) * page, x.shape[3]), torch.nan) for x in (k, v))
    for new in torch.arange(N).split([prefill] + [1] * (N - prefill)):
        keys[:, :, slots[new]], values[:, :, slots[new]] = k[:, :, new], v[:, :, new]
        seen = slots[:new[-1] + 1]
        parts.append(grouped_query_attention(q[:, :, new], keys[:, :, seen], values[:, :, seen], True, scale))
    return tuple(torch.cat(part, dim=2) for part in zip(*parts))


@contextlib.contextmanager
def all_in_float64(*modules):
    """transformers goes to float32 here and there, whatever it is given. Inside, these modules of it stay in float64:
    their names torch.float32 and torch.float mean torch.float64, and x.float() copies to that. Nothing else changes."""
    class Torch:
        float32 = float = torch.float64

        def __getattr__(self, name):
            return getattr(torch, name)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.Tensor, "float", lambda x: x.double().clone(
            memory_format=torch.contiguous_format)))
        for module in modules:
            stack.enter_context(mock.patch.object(module, "torch", Torch()))
        yield


def additive_mask(Nq, Nk, causal):
    """[1,1,Nq,Nk]: 0 where query i sees key j, else -inf; aligned bottom right."""
    i, j = torch.arange(Nq)[:, None], torch.arange(Nk)[None, :]
    hidden = (j - i > Nk - Nq) if causal else torch.zeros(Nq, Nk, dtype=torch.bool)
    return torch.zeros(1, 1, Nq, Nk, dtype=torch.float64).masked_fill(hidden, -torch.inf)


def eager(q, k, v, causal, scale, module=modeling_llama):
    """[B,H,Nq,Dv], by transformers. It wants to know of the layer only these two things."""
    layer = types.SimpleNamespace(num_key_value_groups=q.shape[1] // k.shape[1], training=False)
    with all_in_float64(module):
        out, _ = module.eager_attention_forward(layer, q, k, v, additive_mask(q.shape[2], k.shape[2], causal),
                                                scaling=q.shape[3] ** -0.5 if scale is None else scale)
    return out.transpose(1, 2)                                               # theirs is [B,Nq,H,Dv]


def by_transformers(inputs, params):
    """What must come out for finite inputs."""
    expected = dense.by_torch(inputs, {name: params[name] for name in ("causal", "scale") if name in params})
    t = {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in inputs.items()}
    q, k, v = t["q"], t["k"], t["v"]
    causal, scale = params.get("causal", False), params.get("scale")

    # Rows that see no key are kept from transformers: they are the first ones, and 0 by definition.
    blind = max(q.shape[2] - k.shape[2], 0) if causal else 0
    out = pad(eager(q[:, :, blind:], k, v, causal, scale), (0, 0, blind, 0), value=0.0)
    assert torch.equal(out[:, :, blind:], eager(q[:, :, blind:], k, v, causal, scale, modeling_mistral))

    # The sources must agree, and so must the quoted versions.
    agree(out, expected["out"])
    if "d_out" in t:
        for name, gradient in zip(("d_q", "d_k", "d_v"), torch.autograd.grad(out, (q, k, v), t["d_out"])):
            agree(gradient, expected[name])
    expected["out"] = out.detach().numpy().copy()
    agree_all(grouped_query_attention(q, k, v, causal, scale), expected)
    if "prefill" in params:
        with torch.no_grad():
            agree(through_their_cache(q, k, v, params["prefill"], scale), expected["out"])
            agree_all(through_cache(q, k, v, params["prefill"], scale), expected)
            if "page" in params:
                agree_all(through_pages(q, k, v, params["prefill"], params["page"], scale), expected)
    return expected


def through_their_cache(q, k, v, prefill, scale):
    cache, parts = DynamicCache(), []
    for new in torch.arange(q.shape[2]).split([prefill] + [1] * (q.shape[2] - prefill)):
        keys, values = cache.update(k[:, :, new], v[:, :, new], 0)
        parts.append(eager(q[:, :, new], keys, values, True, scale))
    return torch.cat(parts, dim=2)


def agree(ours, theirs):
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-12, atol=1e-12)


def agree_all(ours, expected):
    for tensor, name in zip(ours, ("out", "log_sum_exp")):
        agree(tensor, expected[name])


class Maker:
    """Makes the cases of one mechanism: `grouped_query`, and multi_query.py's."""

    def __init__(self, mechanism):
        self.mechanism = mechanism

    def draw(self, name, B, H, G, Nq, D, Dv, Nk=None, backward=False, dtype=np.float32, coarse=False):
        """As in dense.py: standard normal; `coarse`: multiples of 1/16, which every 16-bit format holds exactly."""
        normal = random(self.mechanism, name).standard_normal
        shapes = {"q": (B, H, Nq, D), "k": (B, G, Nk or Nq, D), "v": (B, G, Nk or Nq, Dv)}
        if backward:
            shapes["d_out"] = (B, H, Nq, Dv)
        tensors = {key: normal(shape) for key, shape in shapes.items()}
        return {key: (np.round(x * 16) / 16 if coarse else x).astype(dtype) for key, x in tensors.items()}

    def case(self, name, params, inputs, expected=None, note=""):
        origin = ORIGIN + (CACHED if "prefill" in params else "") + note
        return Case(name, params, inputs, by_transformers(inputs, params) if expected is None else expected, origin)

    def simple(self, name, params, **shape):
        return self.case(name, params, self.draw(name, **shape))

    def times_16(self, name, params, **shape):
        inputs = self.draw(name, coarse=True, **shape)
        inputs["q"] *= 16
        return self.case(name, params, inputs)

    def blind_rows(self, name, **shape):
        inputs = self.draw(name, backward=True, **shape)
        blind = inputs["q"].shape[2] - inputs["k"].shape[2]
        return self.case(name, {"causal": True}, inputs, note=(
            f" Queries 0 to {blind - 1} see no key: nobody was asked about them; out 0, log_sum_exp -inf and d_q 0 are "
            "filled in by definition."))

    def nan_key(self, name, params, head, key, **shape):
        inputs = self.draw(name, **shape)
        expected = by_transformers(inputs, params)
        inputs["k"][0, head, key, 2] = np.nan
        heads, first = readers(inputs, head, key)
        expected["out"][0, heads, first:] = np.nan
        expected["log_sum_exp"][0, heads, first:] = np.nan
        return self.case(name, params, inputs, expected, (
            f" transformers had a finite k[0,{head},{key},2]. NaN was put there afterwards, and into the rows that see "
            f"it: {first} and later of query heads {heads.start} to {heads.stop - 1}."))

    def nan_value(self, name, params, head, key, **shape):
        inputs = self.draw(name, backward=True, **shape)
        expected = by_transformers(inputs, params)
        inputs["v"][0, head, key, 1] = np.nan
        heads, first = readers(inputs, head, key)
        expected["out"][0, heads, first:, 1] = np.nan           # one column; log_sum_exp and d_v do not depend on v
        expected["d_q"][0, heads, first:] = np.nan              # through rowsum(d_out * out)
        expected["d_k"][0, head] = np.nan                       # the last query sees every key
        return self.case(name, params, inputs, expected, (
            f" transformers and PyTorch had a finite v[0,{head},{key},1]. NaN was put there afterwards, and into what "
            f"it reaches through query heads {heads.start} to {heads.stop - 1}: column 1 of out and all of d_q from "
            f"row {first}, all of d_k of key head {head}. log_sum_exp and d_v stay finite."))


def readers(inputs, head, key):
    """The query heads that read a key head, and the first causal row that sees a key."""
    (H, Nq), (G, Nk) = inputs["q"].shape[1:3], inputs["k"].shape[1:3]
    return slice(head * (H // G), (head + 1) * (H // G)), max(key - (Nk - Nq), 0)


def cases():
    make = Maker("grouped_query")
    causal = {"causal": True}

    # The wrong answer that a case kills stands above it.

    # Query head h with key head h % G; groups of G heads in the place of G groups: here H/G = 3, G = 2.
    yield make.simple("plain", {}, B=2, H=6, G=2, Nq=5, Nk=9, D=4, Dv=3, dtype=np.float64)
    # d_k and d_v of one head of a group, or their mean, in the place of their sum.
    yield make.simple("plain_backward", {}, B=2, H=6, G=3, Nq=4, Nk=7, D=3, Dv=5, backward=True,
                      dtype=np.float64)
    # `scale: null` read as 0; `causal: false` read as true.
    yield make.simple("plain_null_scale", {"causal": False, "scale": None}, B=2, H=4, G=2, Nq=6, Nk=5, D=6, Dv=7)
    # G = H: a group of one treated as a group of all, or as none.
    yield make.simple("own_keys_backward", causal, B=2, H=3, G=3, Nq=5, D=4, Dv=3, backward=True)
    # G = 1: a stride of the key heads, or of the batch, that is wrong but not used elsewhere.
    yield make.simple("one_key_head_backward", causal, B=2, H=3, G=1, Nq=5, D=4, Dv=3, backward=True)
    # A head's index in its group kept in three bits, or a register for each of at most 8.
    yield make.simple("wide_group", causal, B=1, H=22, G=2, Nq=3, Nk=5, D=4, Dv=3)

    # Queries of a group folded into rows h * Nq + i, and the row taken for the position.
    yield make.simple("causal", causal, B=2, H=6, G=2, Nq=7, D=5, Dv=4)
    # A mask aligned top left.
    yield make.simple("causal_more_keys", causal, B=2, H=4, G=2, Nq=4, Nk=11, D=3, Dv=5)
    yield make.simple("causal_more_keys_backward", causal, B=1, H=6, G=2, Nq=5, Nk=9, D=3, Dv=4, backward=True)
    # NaN, or the mean of all values, in the first rows of each head of a group, which see no key.
    yield make.blind_rows("causal_more_queries_backward", B=1, H=4, G=2, Nq=8, Nk=3, D=3, Dv=5)
    # The only query taken for query 0: it is the last, and sees every key.
    yield make.simple("decode", causal, B=2, H=6, G=2, Nq=1, Nk=37, D=6, Dv=5)
    # Keys dealt out to splits, warps and lanes: 131 of them leave a remainder everywhere; and so do 5 heads of a group.
    yield make.simple("decode_many_keys", causal, B=1, H=10, G=2, Nq=1, Nk=131, D=9, Dv=7)
    # A tile of 16, 32 or 64 folded rows that straddles two heads of a group, or a forgotten last one; so for keys.
    yield make.simple("tile_crossing", causal, B=1, H=6, G=2, Nq=33, D=8, Dv=5)
    yield make.simple("tile_crossing_backward", causal, B=1, H=4, G=2, Nq=17, Nk=35, D=7, Dv=5, backward=True)

    # 1/sqrt(D) on top of the given scale, or a d_q and d_k without the scale.
    yield make.simple("custom_scale_backward", {"scale": 0.3}, B=1, H=4, G=2, Nq=5, Nk=6, D=7, Dv=3, backward=True)
    # exp without the maximum subtracted: scores in the hundreds overflow float32; a maximum taken over the group.
    yield make.times_16("large_logits", causal | {"scale": 1.875}, B=2, H=4, G=2, Nq=8, Nk=11, D=4, Dv=5)
    # A NaN swallowed, or spread to rows that do not see its key or to heads of another group.
    yield make.nan_key("causal_nan_key", causal, head=1, key=5, B=2, H=6, G=2, Nq=6, Nk=8, D=4, Dv=3)
    # The same for a mask that is multiplied (0 * NaN is NaN), and for the gradients of another group.
    yield make.nan_value("causal_nan_value_backward", causal, head=0, key=4, B=2, H=4, G=2, Nq=7, D=4, Dv=3)

    def cached(prefill, page=None, **others):
        return causal | {"prefill": prefill} | ({} if page is None else {"page": page}) | others

    # A token that attends before its own key is in the cache; a cache that starts empty although one token is in it.
    yield make.simple("prefill_one", cached(1), B=2, H=4, G=2, Nq=6, D=4, Dv=3)
    # Tokens appended from position 0 again, over the prefilled ones.
    yield make.simple("prefill_middle", cached(4), B=2, H=6, G=2, Nq=9, D=4, Dv=3)
    # One decode step too few or too many: there is one, and there is none.
    yield make.simple("prefill_all_but_one", cached(7), B=1, H=4, G=2, Nq=8, D=3, Dv=5)
    yield make.simple("prefill_all", cached(8), B=2, H=4, G=2, Nq=8, D=3, Dv=5)
    # D in the place of Dv in a row of the cache, or one row of the cache for all batches; with float64 files.
    yield make.simple("prefill_float64", cached(5), B=3, H=3, G=3, Nq=8, D=3, Dv=7, dtype=np.float64)
    # The given scale used in the prefill but not in the steps.
    yield make.simple("prefill_custom_scale", cached(3, scale=0.9), B=1, H=4, G=2, Nq=8, D=6, Dv=3)
    # Gradients of the prefilled tokens only.
    yield make.simple("prefill_backward", cached(3), B=1, H=4, G=2, Nq=7, D=3, Dv=4, backward=True)
    # A decode step without the maximum subtracted.
    yield make.times_16("prefill_large_logits", cached(2, scale=1.875), B=1, H=4, G=2, Nq=9, D=4, Dv=5)
    # The cache filled with all keys beforehand, and masked by 0 * NaN: only the last token sees the NaN.
    yield make.nan_key("prefill_nan_last_key", cached(3), head=0, key=6, B=1, H=4, G=2, Nq=7, D=4, Dv=3)

    # A page of one token: slot and page exchanged.
    yield make.simple("page_one", cached(2, 1), B=2, H=4, G=2, Nq=5, D=4, Dv=3)
    # The prefill ends inside a page, and the last page is not full: 10 = 4 + 4 + 2.
    yield make.simple("page_ragged", cached(3, 4), B=2, H=4, G=2, Nq=10, D=4, Dv=3)
    # The prefill ends with a page: the next token goes to a page of its own, not to slot 4 of page 0.
    yield make.simple("page_boundary", cached(4, 4), B=2, H=6, G=2, Nq=9, D=3, Dv=4)
    # N % page = 0 taken for an empty last page, or N / page + 1 pages.
    yield make.simple("page_full", cached(1, 3), B=1, H=4, G=2, Nq=6, D=3, Dv=4)
    # A page larger than the sequence read to its end.
    yield make.simple("page_larger", cached(3, 16), B=2, H=4, G=2, Nq=7, D=4, Dv=3)
    # All tokens at once into pages, and no step.
    yield make.simple("page_prefill_all", cached(10, 4), B=2, H=4, G=2, Nq=10, D=3, Dv=4)
    # A tile of 8, 16 or 32 keys that crosses into the next page, and reads on in memory in the place of the table.
    yield make.simple("page_tile_crossing", cached(20, 5), B=1, H=4, G=2, Nq=43, D=6, Dv=3)
    # A page that another sequence or another group reads too; rows before token 8 see nothing of it.
    yield make.nan_key("page_nan_key", cached(5, 4), head=1, key=8, B=2, H=4, G=2, Nq=10, D=4, Dv=3)
