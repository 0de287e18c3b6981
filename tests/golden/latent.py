"""Golden cases of multi-head latent attention (MLA), expanded and absorbed.

`expected` comes from transformers, in float64: from its DeepSeek-V2 attention where `rope_layout` is interleaved, from
its DeepSeek-V3 attention where it is half_split. The other of the two is asked as well, and must agree. `cache` is what
transformers itself keeps of the tokens.

It knows no absorbed form. That is the same function with its products in another order: of the quoted versions, both
must agree with it in every case.
"""
import numpy as np
import torch
from torch.nn.functional import rms_norm
from transformers.cache_utils import DynamicCache
from transformers.models.deepseek_v2 import modeling_deepseek_v2
from transformers.models.deepseek_v2.configuration_deepseek_v2 import DeepseekV2Config
from transformers.models.deepseek_v3 import modeling_deepseek_v3
from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config

from case import Case, random
from grouped_query import additive_mask, agree, all_in_float64

PACKAGES = ["numpy", "torch", "transformers"]
NAMES = {"w_q": "q_proj", "w_dq": "q_a_proj", "norm_q": "q_a_layernorm", "w_uq": "q_b_proj",
         "w_dkv": "kv_a_proj_with_mqa", "norm_kv": "kv_a_layernorm", "w_ukv": "kv_b_proj", "w_o": "o_proj"}
DEFAULTS = {"rope_theta": 10000, "rope_layout": "interleaved", "norm_epsilon": 1e-6}
EXPANDED, ABSORBED, HALF_SPLIT = {"form": "expanded"}, {"form": "absorbed"}, {"rope_layout": "half_split"}

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of latent attention, as the chapters quote it: what tokens are turned into, and two ways to attend. Every
# case asserts that both agree with transformers, all tokens at once and through the cache.
def project(hidden, positions, w, p):               # hidden [B,N,Dm], positions [N], w the weights, p the params
    if "w_q" in w:
        q = hidden @ w["w_q"].mT                                             # [B,N,H(Dn+Dr)]
    else:
        q = norm(hidden @ w["w_dq"].mT, w["norm_q"], p) @ w["w_uq"].mT
    q = q.unflatten(-1, (p["heads"], -1)).transpose(1, 2)                    # [B,H,N,Dn+Dr]
    q_nope, q_rope = q.split((p["nope_dim"], p["rope_dim"]), dim=-1)
    latent, k_rope = (hidden @ w["w_dkv"].mT).split((len(w["norm_kv"]), p["rope_dim"]), dim=-1)
    rows = torch.cat((norm(latent, w["norm_kv"], p), rotate(k_rope, positions, p)), dim=-1)
    return q_nope, rotate(q_rope, positions, p), rows                        # rows [B,N,Rkv+Dr]: what the cache keeps


def norm(x, weight, p):
    return rms_norm(x, weight.shape, weight, p["norm_epsilon"])


def rotate(x, positions, p):                        # x [...,N,Dr]: pairs (2i, 2i+1) or (i, i+Dr/2)
    half_split, half = p["rope_layout"] == "half_split", x.shape[-1] // 2
    angles = positions[:, None] * p["rope_theta"] ** -(torch.arange(half, dtype=x.dtype) / half)     # [N,Dr/2]
    a, b = x.chunk(2, dim=-1) if half_split else (x[..., 0::2], x[..., 1::2])
    a, b = a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()
    return torch.cat((a, b), dim=-1) if half_split else torch.stack((a, b), dim=-1).flatten(-2)


def expanded(q_nope, q_rope, cache, w, p):          # [B,H,Nq,Dn], [B,H,Nq,Dr], [B,Nk,Rkv+Dr]
    latent, k_rope = cache.split((len(w["norm_kv"]), p["rope_dim"]), dim=-1)
    keys_values = (latent @ w["w_ukv"].mT).unflatten(-1, (p["heads"], -1)).transpose(1, 2)
    k_nope, values = keys_values.split((p["nope_dim"], p["value_dim"]), dim=-1)              # [B,H,Nk,Dn], [B,H,Nk,Dv]
    scores = q_nope @ k_nope.mT + q_rope @ k_rope[:, None].mT                # [B,H,Nq,Nk]; one k_rope for all heads
    out = softmax_causal(scores * p["scale"]) @ values                       # [B,H,Nq,Dv]
    return out.transpose(1, 2).flatten(-2) @ w["w_o"].mT                     # [B,Nq,Dm]


def absorbed(q_nope, q_rope, cache, w, p):          # rows of the cache are the only keys, their latents the only values
    w_ukv = w["w_ukv"].unflatten(0, (p["heads"], -1))                        # [H,Dn+Dv,Rkv]
    w_uk, w_uv = w_ukv.split((p["nope_dim"], p["value_dim"]), dim=1)         # [H,Dn,Rkv], [H,Dv,Rkv]
    q = torch.cat((q_nope @ w_uk, q_rope), dim=-1)                           # [B,H,Nq,Rkv+Dr]
    scores = q @ cache[:, None].mT                                           # [B,H,Nq,Nk], the same scores
    latent = softmax_causal(scores * p["scale"]) @ cache[:, None, :, :w_ukv.shape[-1]]       # [B,H,Nq,Rkv]
    return (latent @ w_uv.mT).transpose(1, 2).flatten(-2) @ w["w_o"].mT      # [B,Nq,Dm]


def softmax_causal(scores):                         # [B,H,Nq,Nk]: query i sees rows j <= i + Nk - Nq of the cache
    visible = torch.ones_like(scores, dtype=torch.bool).tril(scores.shape[-1] - scores.shape[-2])
    return scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)


def by_quoted(attend, w, p, prefill):
    """`out` and `cache`: the first `prefill` tokens at once, the others one at a time."""
    cache, parts = w["hidden"].new_empty(len(w["hidden"]), 0, len(w["norm_kv"]) + p["rope_dim"]), []
    for new in steps(w["hidden"], prefill):
        q_nope, q_rope, rows = project(w["hidden"][:, new], new, w, p)
        cache = torch.cat((cache, rows), dim=1)
        parts.append(attend(q_nope, q_rope, cache, w, p))
    return torch.cat(parts, dim=1), cache


def steps(hidden, prefill):
    N = hidden.shape[1]
    return torch.arange(N).split([prefill] + [1] * (N - prefill))


def by_transformers(inputs, params):
    """What must come out for finite inputs."""
    w = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    p = DEFAULTS | params
    if p.get("scale") is None:
        p["scale"] = (p["nope_dim"] + p["rope_dim"]) ** -0.5
    N = inputs["hidden"].shape[1]
    sources = (by_v2, by_v3) if p["rope_layout"] == "interleaved" else (by_v3, by_v2)
    with torch.no_grad():
        expected = sources[0](w, p, N)
        for prefill in {N, p.get("prefill", N)}:
            for found in (*(source(w, p, prefill) for source in sources),
                          *(by_quoted(form, w, p, prefill) for form in (expanded, absorbed))):
                for ours, theirs in zip(found, expected):
                    agree(ours, theirs)
    return {name: tensor.numpy().copy() for name, tensor in zip(("out", "cache"), expected)}


def by_v2(w, p, prefill):
    """It rotates interleaved pairs. For the other layout it gets weights with their rotary rows in interleaved order;
    its rotated keys, which then come in that order, are put back."""
    half_split, Dn, Dr, Rkv = p["rope_layout"] == "half_split", p["nope_dim"], p["rope_dim"], len(w["norm_kv"])
    order = interleaved_order(Dr) if half_split else torch.arange(Dr)
    per_head = torch.cat((torch.arange(Dn), Dn + order))                     # of Dn+Dr rows of w_q or w_uq
    reordered = {name: w[name].unflatten(0, (p["heads"], -1))[:, per_head].flatten(0, 1)
                 for name in ("w_q", "w_uq") if name in w}
    reordered["w_dkv"] = w["w_dkv"][torch.cat((torch.arange(Rkv), Rkv + order))]
    out, latent, k_rope = ask(modeling_deepseek_v2, "DeepseekV2", DeepseekV2Config, {}, w | reordered, p, prefill)
    return out, torch.cat((latent, k_rope[..., order.argsort()]), dim=-1)


def by_v3(w, p, prefill):
    """It knows both layouts, but keeps all rotated keys half split; those of the interleaved one are put back."""
    half_split = p["rope_layout"] == "half_split"
    order = torch.arange(p["rope_dim"]) if half_split else interleaved_order(p["rope_dim"])
    out, latent, k_rope = ask(modeling_deepseek_v3, "DeepseekV3", DeepseekV3Config,
                              {"rope_interleave": not half_split}, w, p, prefill)
    return out, torch.cat((latent, k_rope[..., order]), dim=-1)


def interleaved_order(Dr):
    """Where in a half-split row the elements of the interleaved row are: 0, Dr/2, 1, Dr/2 + 1, ..."""
    return torch.arange(Dr).unflatten(0, (2, -1)).mT.flatten()


def ask(module, prefix, config_class, options, w, p, prefill):
    """`out`, and of the cache, in transformers' order, [B,N,Rkv] and [B,N,Dr]."""
    config = config_class(
        num_attention_heads=p["heads"], num_key_value_heads=p["heads"], hidden_size=p["heads"],
        q_lora_rank=len(w["norm_q"]) if "norm_q" in w else None, kv_lora_rank=len(w["norm_kv"]),
        qk_nope_head_dim=p["nope_dim"], qk_rope_head_dim=p["rope_dim"], v_head_dim=p["value_dim"],
        rope_parameters={"rope_type": "default", "rope_theta": float(p["rope_theta"])}, attention_bias=False,
        attn_implementation="eager", **options)
    config.hidden_size = w["hidden"].shape[2]   # only now: V2 refuses one that the heads do not divide, but can do it
    with all_in_float64(module):
        attention = getattr(module, f"{prefix}Attention")(config, 0).double().eval()
        rotation = getattr(module, f"{prefix}RotaryEmbedding")(config)
        attention.load_state_dict({f"{theirs}.weight": w[ours] for ours, theirs in NAMES.items() if ours in w})
        attention.scaling = p["scale"]
        attention.kv_a_layernorm.variance_epsilon = p["norm_epsilon"]
        if "norm_q" in w:
            attention.q_a_layernorm.variance_epsilon = p["norm_epsilon"]

        cache, parts = DynamicCache(), []
        for new in steps(w["hidden"], prefill):
            hidden = w["hidden"][:, new]
            out, _ = attention(hidden_states=hidden, position_embeddings=rotation(hidden, new[None]), cache=cache,
                               attention_mask=additive_mask(len(new), int(new[-1]) + 1, causal=True))
            parts.append(out)
    return torch.cat(parts, dim=1), cache.layers[0].keys[:, 0], cache.layers[0].values[:, 0]


def origin(inputs, params):
    half_split = params.get("rope_layout") == "half_split"
    source, other = ("V3", "V2") if half_split else ("V2", "V3")
    text = (
        f"transformers' Deepseek{source}Attention and Deepseek{source}RotaryEmbedding, eager, additive causal mask, in "
        "float64, and so its softmax, norms and rotation, which ask for float32; "
        f"{'rope_interleave=False; ' if half_split else ''}cache: the latents and rotated keys that it left in a "
        f"DynamicCache. Its Deepseek{other}Attention agreed to 1e-12, "
        + ("given the rotary rows of the weights in interleaved order, its rotated keys put back into half-split order."
           if half_split else
           "with rope_interleave=True, its rotated keys put back from half-split into interleaved order."))
    if params.get("scale") is not None:
        text += " The scale was put into its attribute scaling."
    if "norm_epsilon" in params:
        text += " The epsilon was put into the attribute variance_epsilon of its norms, which do not take the config's."
    if "prefill" in params:
        text += " Computed at once; prefilled and then one token at a time through the cache, it agreed to 1e-12."
    if params.get("form") == "absorbed":
        text += " It has no absorbed form: these are the numbers of the expanded one, which is the same function."
    return text


def draw(name, B, N, Dm, H, Rkv, Dn, Dr, Dv, Rq=None, dtype=np.float32, normal=None):
    """Without `Rq`, queries come from `w_q`. Weights are such that every product stays close to standard normal."""
    normal = normal or random("latent", name).standard_normal
    shapes = {"hidden": (B, N, Dm), "w_q": (H * (Dn + Dr), Dm), "w_dkv": (Rkv + Dr, Dm), "norm_kv": (Rkv,),
              "w_ukv": (H * (Dn + Dv), Rkv), "w_o": (Dm, H * Dv)}
    if Rq is not None:
        del shapes["w_q"]
        shapes |= {"w_dq": (Rq, Dm), "norm_q": (Rq,), "w_uq": (H * (Dn + Dr), Rq)}
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    for key, x in tensors.items():
        if key.startswith("w_"):
            x /= x.shape[1] ** 0.5
        elif key.startswith("norm_"):
            tensors[key] = 1 + x / 4
    return {key: x.astype(dtype) for key, x in tensors.items()}


def case(name, params, inputs, expected=None, note=""):
    expected = by_transformers(inputs, params) if expected is None else expected
    return Case(name, params, inputs, expected, origin(inputs, params) + note)


def params_of(others, H, Dn, Dr, Dv, **_):
    return {"heads": H, "nope_dim": Dn, "rope_dim": Dr, "value_dim": Dv} | others


def simple(name, others, **shape):
    return case(name, params_of(others, **shape), draw(name, **shape))


def cases():
    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, N, Dm, H, Rq, Rkv, Dn, Dr, Dv; [rope; nope] in the place of [nope; rope], and the like;
    # a norm forgotten, taken over [latent; rope], or without its weight; keys and values of a head exchanged; rotated
    # keys kept in half-split order, which leaves the scores as they are.
    yield simple("plain", {}, B=2, N=6, Dm=11, H=3, Rq=9, Rkv=7, Dn=5, Dr=4, Dv=2)
    # In the absorbed form: w_uk and w_uv exchanged, or not transposed; scale 1/sqrt(Rkv+Dr) in the place of
    # 1/sqrt(Dn+Dr); the rotated key taken into the value.
    yield simple("absorbed", ABSORBED, B=2, N=5, Dm=10, H=3, Rq=6, Rkv=8, Dn=5, Dr=2, Dv=3)
    # w_q with a norm before it, or refused; `scale: null` read as 0.
    yield simple("direct_queries", EXPANDED | {"scale": None}, B=2, N=5, Dm=7, H=2, Rkv=6, Dn=3, Dr=4, Dv=5)
    yield simple("direct_queries_absorbed", ABSORBED, B=1, N=7, Dm=6, H=4, Rkv=5, Dn=4, Dr=2, Dv=3)
    # Interleaved pairs in the place of halves; rotated keys kept in interleaved order.
    yield simple("half_split", HALF_SPLIT | EXPANDED, B=2, N=6, Dm=9, H=2, Rq=7, Rkv=5, Dn=3, Dr=6, Dv=4)
    yield simple("half_split_absorbed", HALF_SPLIT | ABSORBED, B=1, N=6, Dm=8, H=3, Rkv=7, Dn=2, Dr=8, Dv=3)
    # float64 files read as float32.
    yield simple("float64", EXPANDED, B=2, N=7, Dm=8, H=2, Rq=6, Rkv=5, Dn=4, Dr=2, Dv=3, dtype=np.float64)

    # A fixed theta of 10000; theta^(-i/Dr) in the place of theta^(-2i/Dr), or Dn+Dr in the place of Dr.
    yield simple("rope_theta", ABSORBED | {"rope_theta": 50}, B=1, N=9, Dm=6, H=2, Rq=5, Rkv=4, Dn=3, Dr=8, Dv=4)
    yield simple("rope_theta_half_split", HALF_SPLIT | {"rope_theta": 2.5, "form": "expanded"},
                 B=1, N=9, Dm=6, H=2, Rkv=4, Dn=3, Dr=6, Dv=4)
    # A fixed epsilon of 1e-6, in either norm; an epsilon outside the root. The squares are about as small as it is.
    yield small_hidden("norm_epsilon", EXPANDED | {"norm_epsilon": 0.0625}, B=2, N=5, Dm=6, H=2, Rq=5, Rkv=4, Dn=3,
                       Dr=4, Dv=3)
    # YaRN's m * m, m = 1 + 0.1 * 0.707 * ln 40, forgotten, or put on top of the given scale once more.
    yield yarn_scale("yarn_scale", ABSORBED, B=1, N=8, Dm=9, H=2, Rq=6, Rkv=5, Dn=4, Dr=4, Dv=3)
    # `if (scale)`: 0 taken for absent. The answer is the mean of the values so far.
    yield simple("zero_scale", EXPANDED | {"scale": 0}, B=1, N=6, Dm=5, H=2, Rkv=4, Dn=3, Dr=2, Dv=3)
    # exp without the maximum subtracted: scores in the hundreds overflow float32.
    yield large_scores("large_scores", ABSORBED | {"scale": 96, "prefill": 3}, B=1, N=6, Dm=8, H=2, Rkv=6, Dn=4, Dr=4,
                       Dv=3)

    # A stride of H in the place of one of B or N: with one head, nothing but these is left to go wrong.
    yield simple("one_head", EXPANDED, B=2, N=5, Dm=6, H=1, Rq=4, Rkv=3, Dn=5, Dr=2, Dv=4)
    # The least of everything; position 0 is not rotated. A norm of one element is its sign.
    yield simple("one_element", ABSORBED | {"prefill": 1}, B=1, N=1, Dm=1, H=1, Rq=1, Rkv=1, Dn=1, Dr=2, Dv=1)
    # A latent taken to be at least as wide as a warp, or at most as wide as all heads together, H(Dn+Dv).
    yield simple("narrow_latent", ABSORBED, B=1, N=7, Dm=6, H=3, Rq=2, Rkv=1, Dn=4, Dr=4, Dv=5)
    yield simple("wide_latent", ABSORBED, B=1, N=5, Dm=7, H=2, Rq=5, Rkv=37, Dn=3, Dr=2, Dv=4)
    # Dn in the place of Dv in the rows of w_ukv or the columns of w_o: Dv is larger here, and smaller in `plain`.
    yield simple("wide_values", EXPANDED, B=2, N=5, Dm=6, H=2, Rq=4, Rkv=6, Dn=2, Dr=4, Dv=9)
    # Dr larger than Dn: scores without the rotated part, or a rotation that begins in the nope part.
    yield simple("wide_rope", HALF_SPLIT | ABSORBED, B=1, N=8, Dm=6, H=2, Rq=4, Rkv=5, Dn=1, Dr=14, Dv=3)
    # A forgotten last tile, or one read beyond its end, for tiles of 8, 16 and 32 tokens, and of 16 latent elements.
    yield simple("tile_crossing", EXPANDED, B=1, N=33, Dm=9, H=2, Rq=17, Rkv=33, Dn=9, Dr=10, Dv=17)
    yield simple("tile_crossing_absorbed", ABSORBED | {"prefill": 31}, B=1, N=35, Dm=10, H=3, Rkv=34, Dn=7, Dr=6, Dv=9)

    # A token that attends before its own row is in the cache; one row for all batches.
    yield simple("prefill_one", EXPANDED | {"prefill": 1}, B=2, N=5, Dm=6, H=2, Rq=4, Rkv=5, Dn=3, Dr=2, Dv=3)
    # Positions that begin at 0 again after the prefill, for the query or for the key.
    yield simple("prefill_middle", EXPANDED | {"prefill": 4}, B=2, N=8, Dm=7, H=2, Rkv=5, Dn=3, Dr=4, Dv=2)
    # In the cache: the latent before its norm, or normalised again when read; the key before its rotation.
    yield simple("prefill_middle_absorbed", ABSORBED | {"prefill": 3}, B=2, N=7, Dm=6, H=3, Rq=5, Rkv=4, Dn=2, Dr=4,
                 Dv=3)
    yield simple("prefill_half_split_absorbed", HALF_SPLIT | ABSORBED | {"prefill": 2}, B=1, N=7, Dm=8, H=2, Rkv=6,
                 Dn=4, Dr=6, Dv=3)
    # One decode step too few or too many: there is one, and there is none.
    yield simple("prefill_all_but_one", ABSORBED | {"prefill": 5}, B=1, N=6, Dm=5, H=2, Rq=4, Rkv=3, Dn=2, Dr=2, Dv=4)
    yield simple("prefill_all", ABSORBED | {"prefill": 6}, B=2, N=6, Dm=5, H=2, Rq=4, Rkv=3, Dn=2, Dr=2, Dv=4)
    # All options at once: one that is used in the prefill but not in the steps.
    yield small_hidden("prefill_all_options", HALF_SPLIT | ABSORBED | {
        "prefill": 3, "rope_theta": 7, "norm_epsilon": 0.125, "scale": 0.75},
        B=2, N=7, Dm=6, H=2, Rq=5, Rkv=4, Dn=3, Dr=6, Dv=2)

    # Positions in 16 bits (bfloat16 has no 257, float16 no 2049), or angles; a table of the first 2048 of them.
    yield simple("long_positions", ABSORBED | {"prefill": 2090}, B=1, N=2100, Dm=1, H=1, Rkv=1, Dn=1, Dr=2, Dv=1)

    # A NaN swallowed, or spread to tokens before it or to the other batch: 0 * NaN, NaN - inf.
    yield nan_token("nan_token", EXPANDED, token=3, B=2, N=6, Dm=5, H=2, Rq=4, Rkv=4, Dn=3, Dr=2, Dv=3)
    yield nan_token("prefill_nan_token", ABSORBED | {"prefill": 4}, token=5, B=2, N=7, Dm=5, H=2, Rkv=4, Dn=3, Dr=2,
                    Dv=3)


def small_hidden(name, others, **shape):
    inputs = draw(name, **shape)
    inputs["hidden"] /= 4
    return case(name, params_of(others, **shape), inputs)


def yarn_scale(name, others, Dn, Dr, **shape):
    config = {"rope_type": "yarn", "factor": 40, "mscale_all_dim": 0.707}                    # of DeepSeek-V2
    scale = modeling_deepseek_v2.yarn_apply_mscale(config, (Dn + Dr) ** -0.5)
    assert scale == modeling_deepseek_v3.yarn_apply_mscale(config, (Dn + Dr) ** -0.5)
    shape |= {"Dn": Dn, "Dr": Dr}
    return case(name, params_of(others | {"scale": scale}, **shape), draw(name, **shape), note=(
        " It is what transformers' yarn_apply_mscale makes of 1/sqrt(Dn+Dr) for factor 40 and mscale_all_dim 0.707; "
        "the frequencies are plain."))


def large_scores(name, others, **shape):
    """Scores in the hundreds have errors of whole units in 16 bits. So that these do not matter, inputs are drawn until
    one key wins in each row, with half the scale as well."""
    normal = random("latent", name).standard_normal
    params = params_of(others, **shape)
    while True:
        inputs = draw(name, normal=normal, **shape)
        expected, half = (by_transformers(inputs, params | {"scale": params["scale"] * factor}) for factor in (1, 0.5))
        if np.abs(expected["out"] - half["out"]).max() < 1e-9:
            return case(name, params, inputs, expected, " Drawn again until one key had all the weight in each row.")


def nan_token(name, others, token, **shape):
    params, inputs = params_of(others, **shape), draw(name, **shape)
    expected = by_transformers(inputs, params)
    inputs["hidden"][0, token, 1] = expected["cache"][0, token] = expected["out"][0, token:] = np.nan
    return case(name, params, inputs, expected, (
        f" transformers had a finite hidden[0,{token},1]. NaN was put there afterwards, and into what it reaches in "
        f"batch 0: row {token} of the cache, and out from row {token}."))
