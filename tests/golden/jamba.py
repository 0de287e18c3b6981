"""Golden cases of Jamba: layers of attention or Mamba, and after each a feed-forward network or a mixture of experts.

`expected` comes from transformers' JambaModel, in float64, given `hidden` as the embeddings. Where there is no
`final_norm` its own is taken out. With the tokens one at a time through its cache it must give the same; as it is, in
float32, too, as well as that precision can.

mambapy's Jamba is asked as well, at once and by its steps. It does not know heads of another size than Dm / H.
"""
import mambapy.jamba
import numpy as np
import torch
from torch.nn.functional import rms_norm, silu
from transformers.cache_utils import DynamicCache
from transformers.models.jamba import modeling_jamba
from transformers.models.jamba.configuration_jamba import JambaConfig

import mamba
from case import Case, random
from grouped_query import all_in_float64, grouped_query_attention

PACKAGES = ["numpy", "torch", "transformers", "mambapy"]
ATTENTION = {"w_q": "self_attn.q_proj.weight", "w_k": "self_attn.k_proj.weight", "w_v": "self_attn.v_proj.weight",
             "w_o": "self_attn.o_proj.weight"}
FEED_FORWARD = {"gate": "gate_proj.weight", "up": "up_proj.weight", "down": "down_proj.weight"}

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of a Jamba layer, as the chapters quote it. Every case asserts that such layers, one after the other, agree
# with transformers.
def jamba_layer(hidden, w, p, i):                   # hidden [B,L,Dm], w the weights of layer i, p the params
    x = rms_norm(hidden, w["input_norm"].shape, w["input_norm"], p["rms_norm_eps"])              # [B,L,Dm]
    if i % p["attn_layer_period"] == p["attn_layer_offset"]:
        q, k, v = ((x @ w[name].mT).unflatten(-1, (heads, -1)).transpose(1, 2) for name, heads in (
            ("w_q", p["num_attention_heads"]), ("w_k", p["num_key_value_heads"]), ("w_v", p["num_key_value_heads"])))
        heads, _ = grouped_query_attention(q, k, v, causal=True)             # [B,H,L,Dh]; nothing says where a token is
        hidden = hidden + heads.transpose(1, 2).flatten(-2) @ w["w_o"].mT
    else:
        hidden = hidden + mamba.mamba(x, w, {"norm_epsilon": p["rms_norm_eps"]}, *mamba.nothing_before(x, w))[0]
    x = rms_norm(hidden, w["feed_forward_norm"].shape, w["feed_forward_norm"], p["rms_norm_eps"])
    expert_layer = i % p["expert_layer_period"] == p["expert_layer_offset"]
    return hidden + (mixture_of_experts(x, w, p) if expert_layer else feed_forward(x, w["gate"], w["up"], w["down"]))


def feed_forward(x, gate, up, down):                # x [...,Dm]; gate, up [Df,Dm], down [Dm,Df], or [E,...] each
    return (silu(x @ gate.mT) * (x @ up.mT)) @ down.mT


def mixture_of_experts(x, w, p):                    # x [B,L,Dm]
    weights, experts = (x @ w["router"].mT).softmax(dim=-1).topk(p["num_experts_per_tok"])       # [B,L,k] both
    outs = feed_forward(x[:, None], w["gate"], w["up"], w["down"])           # [B,E,L,Dm]: of all, chosen or not
    chosen = outs.transpose(1, 2).take_along_dim(experts[..., None], dim=2)  # [B,L,k,Dm]
    return (weights[..., None] * chosen).sum(dim=2)                          # the weights are not made to sum to 1


def by_quoted(w, p):
    hidden = w["hidden"]
    for i in range(p["num_hidden_layers"]):
        hidden = jamba_layer(hidden, of_layer(w, i), p, i)
    final = w.get("final_norm")
    return hidden if final is None else rms_norm(hidden, final.shape, final, p["rms_norm_eps"])


def of_layer(w, i):
    """Without `layers.<i>.` before the names."""
    return {name.removeprefix(f"layers.{i}."): x for name, x in w.items() if name.startswith(f"layers.{i}.")}


def sizes(w, p):
    """Of all layers: a library knows one of each. What no layer says is 1."""
    every = [of_layer(w, i) for i in range(p["num_hidden_layers"])]
    found = {"Df": {x["up"].shape[-2] for x in every},
             "Dh": {len(x["w_q"]) // p["num_attention_heads"] for x in every if "w_q" in x},
             "Di": {len(x["a_log"]) for x in every if "a_log" in x},
             "S": {x["a_log"].shape[1] for x in every if "a_log" in x},
             "W": {x["conv_weight"].shape[1] for x in every if "a_log" in x},
             "R": {x["dt_proj"].shape[1] for x in every if "a_log" in x}}
    assert all(len(values) <= 1 for values in found.values())
    return {"Dm": w["hidden"].shape[2]} | {name: max(values, default=1) for name, values in found.items()}


def load(layer, w, feed_forward_norm, feed_forward, norms_of_mamba):
    """The weights of a layer into one of either library. Those of the feed-forward network have its names already."""
    weights = feed_forward | {"input_layernorm.weight": w["input_norm"], feed_forward_norm: w["feed_forward_norm"]}
    weights |= {theirs: w[ours] for ours, theirs in ATTENTION.items() if ours in w}
    missing, unexpected = layer.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("mamba.") for name in missing)
    if "a_log" in w:
        mamba.load(layer.mamba, w, norms_of_mamba)


def transformers_model(w, p, dtype):
    w, n = {name: x.to(dtype) for name, x in w.items()}, sizes(w, p)
    config = JambaConfig(
        vocab_size=2, hidden_size=n["Dm"], intermediate_size=n["Df"], mamba_d_state=n["S"], mamba_d_conv=n["W"],
        mamba_expand=max(n["Di"] // n["Dm"], 1), mamba_dt_rank=n["R"], attn_implementation="eager",
        experts_implementation="eager", bos_token_id=None, eos_token_id=None, **p)
    config.head_dim = n["Dh"]
    model = modeling_jamba.JambaModel(config).to(dtype).eval()
    for i, layer in enumerate(model.layers):
        ours = of_layer(w, i)
        if "router" in ours:
            feed_forward = {"router.weight": ours["router"], "experts.down_proj": ours["down"],
                            "experts.gate_up_proj": torch.cat((ours["gate"], ours["up"]), dim=1)}
        else:
            feed_forward = {theirs: ours[name] for name, theirs in FEED_FORWARD.items()}
        load(layer, ours, "pre_ff_layernorm.weight", {f"feed_forward.{name}": x for name, x in feed_forward.items()},
             ("dt_layernorm", "b_layernorm", "c_layernorm"))
    if "final_norm" in w:
        model.final_layernorm.load_state_dict({"weight": w["final_norm"]})
    else:
        model.final_layernorm = torch.nn.Identity()
    return model


def through(model, hidden, stepwise):
    if not stepwise:
        return model(inputs_embeds=hidden, use_cache=False).last_hidden_state
    # A token that sees all before it needs no mask. The model would make one, and without attention layers it cannot.
    cache, masks = DynamicCache(config=model.config), {"full_attention": None, "linear_attention": None}
    return torch.cat([model(inputs_embeds=token, cache=cache, use_cache=True, attention_mask=masks,
                            position_ids=torch.tensor([[n]])).last_hidden_state
                      for n, token in enumerate(hidden.split(1, dim=1))], dim=1)


def by_transformers(w, p, stepwise):
    with all_in_float64(modeling_jamba):
        return through(transformers_model(w, p, torch.float64), w["hidden"], stepwise)


def by_transformers_float32(w, p, stepwise):
    """As it is: nothing of it is replaced."""
    return through(transformers_model(w, p, torch.float32), w["hidden"].float(), stepwise).double()


def known_to_mambapy(w, p):
    return "w_q" not in "".join(w) or sizes(w, p)["Dh"] * p["num_attention_heads"] == w["hidden"].shape[2]


def by_mambapy(w, p, stepwise):
    n, inner = sizes(w, p), any(name.endswith(mamba.NORMS) for name in w)
    model = mambapy.jamba.Jamba(mambapy.jamba.JambaLMConfig(
        d_model=n["Dm"], n_layers=p["num_hidden_layers"], mlp_size=n["Df"], rms_norm_eps=p["rms_norm_eps"],
        d_state=n["S"], expand_factor=max(n["Di"] // n["Dm"], 1), d_conv=n["W"], dt_rank=n["R"],
        inner_layernorms=inner, **{name: value for name, value in p.items()
                                   if name not in ("num_hidden_layers", "rms_norm_eps")})).double().eval()
    for i, layer in enumerate(model.layers):
        ours = of_layer(w, i)
        feed_forward = {"moe.router.weight": ours["router"]} if "router" in ours else {}
        for name, theirs in FEED_FORWARD.items():
            for e, expert in enumerate(ours[name] if "router" in ours else [ours[name]]):
                feed_forward[f"moe.experts.{e}.{theirs}"] = expert
        load(layer, ours, "pre_moe_layernorm.weight", feed_forward, ("dt_layernorm", "B_layernorm", "C_layernorm"))
    with all_in_float64(mambapy.jamba):
        if not stepwise:
            hidden, _ = model(w["hidden"])
        else:
            caches, rows = [layer.get_empty_cache(len(w["hidden"]), "cpu") for layer in model.layers], []
            for token in w["hidden"].split(1, dim=1):
                row, caches = model.step(token, caches)
                rows.append(row)
            hidden = torch.cat(rows, dim=1)
        if "final_norm" in w:
            final = mambapy.jamba.RMSNorm(n["Dm"], p["rms_norm_eps"])
            final.weight.data = w["final_norm"]
            hidden = final(hidden)
    return hidden


@torch.no_grad()
def by_others(inputs, params):
    """What must come out."""
    w = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    out = by_transformers(w, params, stepwise=False)
    assert out.dtype == torch.float64
    mamba.agree(by_quoted(w, params), out, 1e-12)
    for stepwise in (False, True):
        mamba.agree(by_transformers(w, params, stepwise), out, 1e-12)
        mamba.agree(by_transformers_float32(w, params, stepwise), out, 1e-5)
        if known_to_mambapy(w, params):
            mamba.agree(by_mambapy(w, params, stepwise), out, 1e-12)
    return {"out": out.numpy().copy()}


def origin(inputs, params):
    text = ("transformers' JambaModel, eager, in float64, and so the parts of it that ask for float32, all tokens at "
            "once. One at a time through its DynamicCache, it agreed to 1e-12; as it is, in float32, to 1e-5.")
    if "final_norm" not in inputs:
        text += " Its final norm was replaced by the identity."
    if any(name.endswith(".a_log") for name in inputs) and not any(name.endswith(mamba.NORMS) for name in inputs):
        text += " So were the three norms inside its Mamba."
    if any(name.endswith(".router") for name in inputs):
        text += " Its gate_up_proj is gate, then up."
    if known_to_mambapy(inputs, params):
        text += " mambapy.jamba.Jamba, all tokens at once and one at a time, agreed to 1e-12."
    else:
        text += " Its config was given a head_dim, which is not hidden_size / num_attention_heads."
    return text + " Drawn again until 16 bits were enough, also for the choice of experts."


def router_gap(w, p):
    """The least distance, over layers and tokens, of the logits of the last expert chosen and the first not chosen."""
    model, gaps = transformers_model(w, p, torch.float64), [torch.inf]

    def look(router, _, outputs):
        logits, k = outputs[0].sort(dim=-1, descending=True).values, p["num_experts_per_tok"]
        if k < p["num_experts"]:
            gaps.append((logits[:, k - 1] - logits[:, k]).min().item())

    for layer in model.layers:
        if hasattr(layer.feed_forward, "router"):
            layer.feed_forward.router.register_forward_hook(look)
    with all_in_float64(modeling_jamba):
        through(model, w["hidden"], stepwise=False)
    return min(gaps)


@torch.no_grad()
def tame(inputs, params):
    """Is `out` of the order of 1, are 16 bits enough for it, and is no choice of experts a matter of rounding?"""
    w = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    out = by_quoted(w, params)
    for dtype in (torch.float16, torch.bfloat16):
        error = by_quoted({name: x.to(dtype) for name, x in w.items()}, params).double() - out
        if not error.norm() < 0.008 * out.norm() or not error.abs().max() < 0.02 * out.abs().max():
            return False
    return 0.25 < out.square().mean().sqrt() < 4 and router_gap(w, params) > 0.08


def draw(p, Dm, Df, L, normal, Dh=1, expand=1, S=1, W=1, R=1, B=1, inner_norms=True, final_norm=False,
         dtype=np.float32):
    """Weights are such that every product stays close to standard normal, and so does the sum of all that the layers
    add; Mamba's as in mamba.py."""
    H, G, E = p["num_attention_heads"], p["num_key_value_heads"], p["num_experts"]
    inputs = {"hidden": normal((B, L, Dm))}
    for i in range(p["num_hidden_layers"]):
        layer = {"input_norm": 1 + normal(Dm) / 4, "feed_forward_norm": 1 + normal(Dm) / 4}
        if i % p["attn_layer_period"] == p["attn_layer_offset"]:
            layer |= {"w_q": normal((H * Dh, Dm)) / Dm ** 0.5, "w_k": normal((G * Dh, Dm)) / Dm ** 0.5,
                      "w_v": normal((G * Dh, Dm)) / Dm ** 0.5, "w_o": normal((Dm, H * Dh)) / (H * Dh) ** 0.5}
        else:
            block = mamba.draw(Dm, expand * Dm, S, W, R, 1, normal, norms=mamba.NORMS if inner_norms else (),
                               dtype=np.float64)
            layer |= {name: x for name, x in block.items() if name != "hidden"}
        experts = (E,) if i % p["expert_layer_period"] == p["expert_layer_offset"] else ()
        if experts:
            layer["router"] = normal((E, Dm)) * 1.5 / Dm ** 0.5
        layer |= {"gate": normal((*experts, Df, Dm)) / Dm ** 0.5, "up": normal((*experts, Df, Dm)) / Dm ** 0.5,
                  "down": normal((*experts, Dm, Df)) * 2 / Df ** 0.5}
        for name in ("w_o", "out_proj", "down"):
            if name in layer:
                layer[name] /= (2 * p["num_hidden_layers"]) ** 0.5
        inputs |= {f"layers.{i}.{name}": x for name, x in layer.items()}
    if final_norm:
        inputs["final_norm"] = 1 + normal(Dm) / 4
    return {name: x.astype(dtype) for name, x in inputs.items()}


def params_of(layers, attention, experts, heads=(1, 1), top=(1, 2), epsilon=1e-6):
    """`attention` and `experts`: every how many layers, from which one on. `heads`: of queries, of keys and values."""
    return {"num_hidden_layers": layers, "attn_layer_period": attention[0], "attn_layer_offset": attention[1],
            "expert_layer_period": experts[0], "expert_layer_offset": experts[1], "num_attention_heads": heads[0],
            "num_key_value_heads": heads[1], "num_experts": top[1], "num_experts_per_tok": top[0],
            "rms_norm_eps": epsilon}


NEVER = (8, 7)


def cases():
    def simple(name, params, change=None, **shape):
        normal, inputs = random("jamba", name).standard_normal, None
        while inputs is None or not tame(inputs, params):       # again and again, from one generator
            inputs = draw(params, **shape, normal=normal)
            if change:
                change(inputs)
        return Case(name, params, inputs, by_others(inputs, params), origin(inputs, params))

    mixer = {"expand": 2, "S": 3, "W": 4, "R": 2}

    # The wrong answer that a case kills stands above it.

    # Attention and experts in each other's layers; layers counted from 1; a layer without its residual, or the residual
    # taken after the norm; norms exchanged; positions in attention; routing weights that sum to 1; query head h that
    # reads key/value head h % G.
    yield simple("plain", params_of(4, (4, 2), (2, 1), heads=(4, 2), top=(2, 4)), B=2, Dm=8, Dh=2, Df=6, L=5, **mixer)
    # All 8 layers of Jamba's own pattern, attention in layer 4, experts in the odd ones.
    yield simple("as_jamba", params_of(8, (8, 4), (2, 1), heads=(4, 1), top=(2, 4)), Dm=4, Dh=1, Df=5, L=6,
                 final_norm=True, **mixer)
    # Both in the same layer; an offset of 0 taken for absent.
    yield simple("attention_with_experts", params_of(3, (2, 0), (2, 0), heads=(3, 3), top=(2, 3)), B=2, Dm=6, Dh=2,
                 Df=4, L=6, final_norm=True, **mixer)

    # One layer of each of the four kinds, and no other that hides what it does.
    yield simple("one_attention_layer", params_of(1, (1, 0), NEVER, heads=(4, 2)), B=2, Dm=8, Dh=2, Df=5, L=7)
    yield simple("one_attention_layer_experts", params_of(1, (1, 0), (1, 0), heads=(2, 1), top=(2, 4)), B=2, Dm=6, Dh=3,
                 Df=4, L=6)
    yield simple("one_mamba_layer", params_of(1, NEVER, NEVER), B=2, Dm=5, Df=7, L=7, **mixer)
    yield simple("one_mamba_layer_experts", params_of(1, NEVER, (1, 0), top=(2, 4)), B=2, Dm=5, Df=4, L=6, **mixer)

    # Attention in every layer: a Transformer. In none: a stack of Mamba, here with experts in every layer.
    yield simple("attention_only", params_of(3, (1, 0), NEVER, heads=(4, 4)), B=2, Dm=8, Dh=2, Df=5, L=9,
                 final_norm=True)
    yield simple("mamba_only", params_of(3, NEVER, (1, 0), top=(2, 4)), B=2, Dm=4, Df=5, L=6, final_norm=True, **mixer)

    # Dm / H in the place of the size of a head, which the weights tell: as a stride, or in the scale.
    yield simple("wide_heads", params_of(2, (2, 1), NEVER, heads=(4, 2)), B=2, Dm=6, Dh=5, Df=4, L=6, **mixer)
    # Top 2 in any case; the mean in the place of the sum.
    yield simple("top_1", params_of(2, (2, 1), (1, 0), heads=(2, 2), top=(1, 3)), B=2, Dm=6, Dh=3, Df=4, L=7, **mixer)
    yield simple("top_3_of_5", params_of(2, (2, 0), (2, 1), heads=(2, 1), top=(3, 5)), Dm=4, Dh=2, Df=3, L=8, **mixer)
    yield simple("all_experts", params_of(2, (2, 0), (1, 0), heads=(2, 2), top=(3, 3)), B=2, Dm=4, Dh=2, Df=3, L=6,
                 **mixer)
    # A batch of no tokens for the six experts that none of them takes.
    yield simple("one_token", params_of(3, (3, 1), (2, 0), heads=(2, 1), top=(2, 8)), Dm=4, Dh=2, Df=3, L=1,
                 final_norm=True, **mixer)

    # A fixed epsilon in any norm: of a layer, of Mamba's inside, the last. The squares are about as small as it is.
    yield simple("rms_norm_eps", params_of(2, (2, 1), (2, 1), heads=(2, 2), top=(2, 4), epsilon=0.0625),
                 change=small_hidden, B=2, Dm=6, Dh=3, Df=4, L=6, final_norm=True, **mixer)
    # Mamba without norms inside, which are optional.
    yield simple("without_inner_norms", params_of(2, (2, 1), NEVER, heads=(2, 1)), B=2, Dm=6, Dh=3, Df=4, L=7,
                 inner_norms=False, **mixer)
    # float64 files read as float32. Sizes that no tile fits; a chunk of the scan or of the keys forgotten.
    yield simple("float64", params_of(2, (2, 1), (2, 0), heads=(3, 1), top=(2, 4)), B=2, Dm=6, Dh=2, Df=5, L=5,
                 dtype=np.float64, **mixer)
    yield simple("tokens_35", params_of(2, (2, 1), NEVER, heads=(2, 2)), Dm=6, Dh=3, Df=17, L=35, **mixer)

    # A NaN swallowed, or spread to tokens before it or to the other batch, also through an expert that both take. A
    # router of NaN has no largest element.
    yield nan_token(simple("nan_token", params_of(3, (3, 1), (2, 0), heads=(2, 1), top=(2, 4)), B=2, Dm=4, Dh=2, Df=3,
                           L=6, **mixer), token=3)


def small_hidden(inputs):
    inputs["hidden"] /= 4
    for name in inputs:
        if name.endswith((".x_proj", ".w_o", ".out_proj", ".down")):
            inputs[name] /= 4


def nan_token(case, token):
    case.inputs["hidden"][0, token, 1] = case.expected["out"][0, token:] = np.nan
    return case._replace(origin=case.origin + (
        f" transformers had a finite hidden[0,{token},1]. NaN was put there afterwards, and into what it reaches: out "
        f"of batch 0 from row {token}."))
