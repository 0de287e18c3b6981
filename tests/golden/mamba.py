"""Golden cases of the Mamba block: projections, a short causal convolution, the selective scan and its gate.

`expected` comes from transformers, in float64: from its MambaMixer, or from its JambaMambaMixer where there are inner
norms. With `prefill`, it is what they compute through the cache, one token at a time after the first ones; all tokens
at once must give the same. As they are, in float32, they must agree as well as that precision can.

mambapy's MambaBlock, all tokens at once by its parallel scan or one at a time by its steps, is asked as well.
"""
import mambapy.mamba
import numpy as np
import torch
from torch.nn.functional import rms_norm, silu
from transformers.cache_utils import DynamicCache
from transformers.models.jamba import modeling_jamba
from transformers.models.jamba.configuration_jamba import JambaConfig
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba.configuration_mamba import MambaConfig
from transformers.utils import logging

from case import Case, random
from grouped_query import all_in_float64
from selective_scan import selective_scan

PACKAGES = ["numpy", "torch", "transformers", "mambapy"]
NORMS = ("dt_norm", "b_norm", "c_norm")
NAMES = {"in_proj": "in_proj.weight", "conv_weight": "conv1d.weight", "conv_bias": "conv1d.bias",
         "x_proj": "x_proj.weight", "dt_proj": "dt_proj.weight", "dt_bias": "dt_proj.bias", "a_log": "A_log", "d": "D",
         "out_proj": "out_proj.weight"}
DEFAULTS = {"norm_epsilon": 1e-6}

torch.set_num_threads(1)    # the same order of additions in every run
logging.set_verbosity_error()    # transformers has faster kernels for its mixers, and says so


# The whole of the Mamba block, as the chapters quote it. history [B,W-1,Di] and state [B,Di,S] are what the tokens
# before have left, zeros if there are none. Every case asserts that it agrees with transformers, all tokens at once and
# one at a time.
def mamba(hidden, w, p, history, state):            # hidden [B,L,Dm], w the weights, p the params
    R, S, W = w["dt_proj"].shape[1], w["a_log"].shape[1], w["conv_weight"].shape[1]
    x, z = (hidden @ w["in_proj"].mT).chunk(2, dim=-1)                                           # [B,L,Di] both
    x = torch.cat((history, x), dim=1)                                                           # [B,W-1+L,Di]
    history = x[:, x.shape[1] - (W - 1):]
    x = silu((x.unfold(1, W, 1) * w["conv_weight"]).sum(dim=-1) + w["conv_bias"])                # [B,L,Di]
    dt, b, c = (x @ w["x_proj"].mT).split((R, S, S), dim=-1)                                     # [B,L,R], [B,L,S] both
    dt, b, c = norm(dt, w.get("dt_norm"), p), norm(b, w.get("b_norm"), p), norm(c, w.get("c_norm"), p)
    scan = {"u": x, "delta": dt @ w["dt_proj"].mT, "b": b, "c": c, "z": z}
    scan = {name: rows.mT for name, rows in scan.items()} | {
        "delta_bias": w["dt_bias"], "a": -w["a_log"].exp(), "d": w["d"], "initial_state": state}
    y, state = selective_scan(scan, {"delta_softplus": True, "discretization": "euler"})         # [B,Di,L], [B,Di,S]
    return y.mT @ w["out_proj"].mT, history, state                                               # [B,L,Dm]


def norm(x, weight, p):                             # Jamba's; in a Mamba without it, there is no weight
    return x if weight is None else rms_norm(x, weight.shape, weight, p["norm_epsilon"])


def nothing_before(hidden, w):
    Di, S = w["a_log"].shape
    return hidden.new_zeros(len(hidden), w["conv_weight"].shape[1] - 1, Di), hidden.new_zeros(len(hidden), Di, S)


def by_quoted(w, p, prefill):
    """`out`: the first `prefill` tokens at once, the others one at a time."""
    before, parts = nothing_before(w["hidden"], w), []
    for hidden in steps(w["hidden"], prefill):
        out, *before = mamba(hidden, w, p, *before)
        parts.append(out)
    return torch.cat(parts, dim=1)


def steps(hidden, prefill):
    return hidden.split([prefill] + [1] * (hidden.shape[1] - prefill), dim=1)


def load(block, w, norms):
    """Into transformers' mixer or mambapy's block; `norms` are the names of its three."""
    weights = {theirs: w[ours] for ours, theirs in NAMES.items()} | {
        f"{theirs}.weight": w[ours] for ours, theirs in zip(NORMS, norms) if ours in w}
    weights["conv1d.weight"] = w["conv_weight"][:, None]
    if block.conv1d.bias is None:
        assert not weights.pop("conv1d.bias").any()
    for ours, theirs in zip(NORMS, norms):
        if ours not in w:
            setattr(block, theirs, torch.nn.Identity())
    block.load_state_dict(weights)


def transformers_mixer(w, p, dtype):
    (Di, S), Dm, W, R = w["a_log"].shape, w["hidden"].shape[2], w["conv_weight"].shape[1], w["dt_proj"].shape[1]
    bias = bool(w["conv_bias"].any())
    if any(name in w for name in NORMS):
        assert Di % Dm == 0
        config = JambaConfig(hidden_size=Dm, mamba_expand=Di // Dm, mamba_d_state=S, mamba_d_conv=W, mamba_dt_rank=R,
                             mamba_conv_bias=bias, rms_norm_eps=float(p["norm_epsilon"]), num_hidden_layers=1)
        assert config.layer_types == ["linear_attention"]
        mixer = modeling_jamba.JambaMambaMixer(config, 0)
    else:
        config = MambaConfig(hidden_size=Dm, state_size=S, conv_kernel=W, time_step_rank=R, use_conv_bias=bias,
                             num_hidden_layers=1)
        config.intermediate_size = Di       # only now: its expand knows multiples of hidden_size
        mixer = modeling_mamba.MambaMixer(config, 0)
    mixer = mixer.to(dtype).eval()
    load(mixer, {name: x.to(dtype) for name, x in w.items()}, ("dt_layernorm", "b_layernorm", "c_layernorm"))
    return config, mixer


def through(config, mixer, hidden, prefill):
    """`out`, with a cache where there are steps."""
    cache = DynamicCache(config=config) if prefill < hidden.shape[1] else None
    return torch.cat([mixer(part, cache=cache) for part in steps(hidden, prefill)], dim=1)


def by_transformers(w, p, prefill):
    with all_in_float64(modeling_mamba, modeling_jamba):
        return through(*transformers_mixer(w, p, torch.float64), w["hidden"], prefill)


def by_transformers_float32(w, p, prefill):
    """As it is: nothing of it is replaced."""
    return through(*transformers_mixer(w, p, torch.float32), w["hidden"].float(), prefill).double()


def by_mambapy(w, p, stepwise):
    (Di, S), Dm, W = w["a_log"].shape, w["hidden"].shape[2], w["conv_weight"].shape[1]
    config = mambapy.mamba.MambaConfig(d_model=Dm, n_layers=1, dt_rank=w["dt_proj"].shape[1], d_state=S, d_conv=W,
                                       conv_bias=bool(w["conv_bias"].any()), rms_norm_eps=p["norm_epsilon"],
                                       inner_layernorms=any(name in w for name in NORMS))
    config.d_inner = Di
    block = mambapy.mamba.MambaBlock(config).double().eval()
    load(block, w, ("dt_layernorm", "B_layernorm", "C_layernorm"))
    with all_in_float64():
        if not stepwise:
            return block(w["hidden"])
        cache, rows = (None, w["hidden"].new_zeros(len(w["hidden"]), Di, W - 1)), []
        for hidden in w["hidden"].unbind(dim=1):
            row, cache = block.step(hidden, cache)
            rows.append(row)
    return torch.stack(rows, dim=1)


def ways_of_mambapy(inputs):
    """All tokens at once, and one at a time. Its scan takes a NaN back to tokens before it, its steps cannot do without
    a history."""
    return [stepwise for stepwise in (False, True)
            if not (np.isnan(inputs["hidden"]).any() if not stepwise else inputs["conv_weight"].shape[1] == 1)]


@torch.no_grad()
def by_others(inputs, params):
    """What must come out."""
    w = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    p, L = DEFAULTS | params, inputs["hidden"].shape[1]
    out = by_transformers(w, p, p.get("prefill", L))
    assert out.dtype == torch.float64
    for prefill in {1, L, p.get("prefill", L)}:
        agree(by_transformers(w, p, prefill), out, 1e-12)
        agree(by_quoted(w, p, prefill), out, 1e-12)
        agree(by_transformers_float32(w, p, prefill), out, 1e-5)
    for stepwise in ways_of_mambapy(inputs):
        agree(by_mambapy(w, p, stepwise), out, 1e-12)
    return {"out": out.numpy().copy()}


def agree(ours, theirs, tolerance):
    largest = theirs.abs().nan_to_num().max().item()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * largest, equal_nan=True)


def origin(inputs, params):
    norms, L, prefill = [name for name in NORMS if name in inputs], inputs["hidden"].shape[1], params.get("prefill")
    text = (f"transformers' {'JambaMambaMixer' if norms else 'MambaMixer'}, in float64, and so the parts of it that "
            "ask for float32, ")
    if prefill is not None and prefill < L:
        text += f"the first {prefill} tokens at once, the others one at a time through its DynamicCache. All at once, "
    else:
        text += "all tokens at once. The first one, and the others one at a time through its DynamicCache, "
    text += "it agreed to 1e-12; as it is, in float32, to 1e-5."
    if norms and len(norms) < len(NORMS):
        text += " Those of its three inner norms that are not among the inputs were replaced by the identity."
    if not inputs["conv_bias"].any():
        text += " Its convolution had no bias, which is what a bias of 0 means."
    ways = " and ".join("one token at a time" if stepwise else "all tokens at once, by its parallel scan,"
                        for stepwise in ways_of_mambapy(inputs))
    return text + (f" mambapy.mamba.MambaBlock, {ways.rstrip(',')}, agreed to 1e-12. Drawn again until 16 bits were "
                   "enough.")


@torch.no_grad()
def tame(inputs, params):
    """Is `out` of the order of 1, and so well conditioned that 16 bits are enough, even for the state? Products of four
    drawn numbers are not always."""
    w = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    p, L = DEFAULTS | params, inputs["hidden"].shape[1]
    out = by_quoted(w, p, L)
    seen = out.isfinite()
    for dtype in (torch.float16, torch.bfloat16):
        error = (by_quoted({name: x.to(dtype) for name, x in w.items()}, p, L).double() - out)[seen]
        if not error.norm() < 0.008 * out[seen].norm() or not error.abs().max() < 0.02 * out[seen].abs().max():
            return False
    return 0.25 < out[seen].square().mean().sqrt() < 4


def draw(Dm, Di, S, W, R, L, normal, B=1, norms=(), dtype=np.float32):
    """Weights are such that every product stays close to standard normal. Norms are drawn last."""
    inputs = {"hidden": normal((B, L, Dm)), "in_proj": normal((2 * Di, Dm)) * 1.5 / Dm ** 0.5,
              "conv_weight": normal((Di, W)) / W ** 0.5, "conv_bias": normal(Di) / 2,
              "x_proj": normal((R + 2 * S, Di)) / Di ** 0.5, "dt_proj": normal((Di, R)) / R ** 0.5,
              "dt_bias": normal(Di) / 2 - 0.5, "a_log": normal((Di, S)) / 2, "d": normal(Di),
              "out_proj": normal((Dm, Di)) / Di ** 0.5}
    inputs |= {key: 1 + normal(R if key == "dt_norm" else S) / 4 for key in NORMS if key in norms}
    return {key: x.astype(dtype) for key, x in inputs.items()}


def cases():
    def simple(name, params=None, change=None, note="", **shape):
        params, normal, inputs = params or {}, random("mamba", name).standard_normal, None
        while inputs is None or not tame(inputs, params):       # again and again, from one generator
            inputs = draw(**shape, normal=normal)
            if change:
                change(inputs)
        return Case(name, params, inputs, by_others(inputs, params), origin(inputs, params) + note)

    def prefill(tokens):
        return {"prefill": tokens}

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, L, Dm, Di, S, W, R; z before x; B, C, dt in the place of dt, B, C; taps from the newest
    # to the oldest; x before the convolution in the scan or beside d; no SiLU after the convolution; exp(a_log) without
    # its sign; d after the gate.
    yield simple("plain", B=2, Dm=5, Di=7, S=3, W=4, R=2, L=9)
    # float64 files read as float32.
    yield simple("float64", B=2, Dm=6, Di=12, S=4, W=4, R=1, L=8, dtype=np.float64)
    # Di taken for 2 Dm: it is Dm, or less.
    yield simple("expand_1", B=2, Dm=6, Di=6, S=3, W=4, R=2, L=7)
    yield simple("narrow", B=2, Dm=9, Di=4, S=5, W=3, R=2, L=6)
    # Mamba's own sizes (2 Dm, 16 states, 4 taps, ceil(Dm/16)) and its first weights: a_log = log(1, 2, ..., S), d = 1,
    # and a bias of softplus^-1 of a step of 0.001 to 0.1. With exp(a_log) up to 16, a zero-order hold is not Euler.
    yield simple("as_initialized", change=as_initialized, Dm=17, Di=34, S=16, W=4, R=2, L=12)

    # History of a convolution of one tap, where there is none; of two, where there is one token.
    yield simple("taps_1", B=2, Dm=4, Di=8, S=3, W=1, R=2, L=7)
    yield simple("taps_2", B=2, Dm=4, Di=8, S=3, W=2, R=2, L=7)
    # At most 4 taps, or exactly 4.
    yield simple("taps_6", B=1, Dm=4, Di=6, S=2, W=6, R=1, L=11)
    # The bias of the convolution left out before the first W tokens, or where hidden is 0: silu(bias) is not 0.
    yield simple("zero_prefix", change=zero_prefix, B=2, Dm=5, Di=10, S=3, W=4, R=2, L=9)
    yield simple("zero_conv_bias", change=zero_conv_bias, B=2, Dm=5, Di=10, S=3, W=4, R=2, L=6)

    # Tokens before the first that are not 0, but what is left in a buffer, or the first token once more.
    yield simple("one_token", B=3, Dm=5, Di=10, S=4, W=4, R=2, L=1)
    yield simple("fewer_tokens_than_taps", B=2, Dm=4, Di=8, S=3, W=4, R=2, L=2)
    yield simple("as_many_tokens_as_taps", B=2, Dm=4, Di=8, S=3, W=4, R=2, L=4)
    # The least of everything.
    yield simple("one_element", Dm=1, Di=1, S=1, W=1, R=1, L=1)
    yield simple("one_channel", B=2, Dm=1, Di=1, S=3, W=3, R=1, L=6)
    yield simple("one_state", B=2, Dm=5, Di=10, S=1, W=4, R=3, L=8)

    # A rank above Di; the scale of another rank.
    yield simple("wide_rank", B=2, Dm=3, Di=6, S=2, W=2, R=9, L=7)
    # Sizes that no tile, warp or power of 2 fits.
    yield simple("states_33", Dm=3, Di=6, S=33, W=3, R=1, L=5)
    yield simple("channels_33", B=2, Dm=17, Di=33, S=2, W=4, R=3, L=5)
    yield simple("channels_70", Dm=9, Di=70, S=3, W=2, R=2, L=4)
    yield simple("tokens_32", Dm=4, Di=8, S=4, W=4, R=1, L=32)
    yield simple("tokens_33", B=2, Dm=3, Di=6, S=2, W=4, R=1, L=33)
    yield simple("tokens_67", Dm=3, Di=6, S=3, W=4, R=2, L=67)

    # log(1 + exp(x)), infinite in float32. exp(-100) forgets the state: what is left of the past is what the
    # convolution holds.
    yield simple("large_steps", change=large_steps, B=2, Dm=4, Di=8, S=3, W=2, R=2, L=8)
    # softplus(-1000) = 0: the state stays 0, and only d x is left. softplus(-inf): inf - inf.
    yield simple("frozen", change=frozen(-1000), B=2, Dm=4, Di=8, S=3, W=3, R=2, L=7)
    yield simple("frozen_infinite", prefill(3), change=frozen(-np.inf), Dm=3, Di=6, S=2, W=3, R=1, L=6)
    # exp(x) / (1 + exp(x)) in either SiLU: infinite / infinite. x and z are in the hundreds.
    yield simple("large_hidden", change=large_hidden, B=2, Dm=4, Di=8, S=3, W=3, R=2, L=7)

    # Norms forgotten, without their weight, over [dt; B; C] at once, or of delta, after dt_proj.
    yield simple("norms", B=2, Dm=5, Di=10, S=4, W=4, R=3, L=8, norms=NORMS)
    # A norm over another dimension: with one element, it is a sign.
    yield simple("norms_of_one", B=2, Dm=4, Di=8, S=1, W=3, R=1, L=7, norms=NORMS)
    # A fixed epsilon of 1e-6, or none; outside the root. The squares are about as small as it is.
    yield simple("norm_epsilon", {"norm_epsilon": 0.0625}, change=small_x_proj, B=2, Dm=4, Di=8, S=3, W=4, R=2, L=7,
                 norms=NORMS)
    # All three or none, where each is optional by itself. Norms of B and C exchanged: where both are, this is the same.
    yield simple("b_norm_only", B=2, Dm=4, Di=12, S=3, W=4, R=2, L=6, norms=("b_norm",))
    yield simple("dt_and_c_norm_only", B=2, Dm=4, Di=4, S=3, W=2, R=3, L=6, norms=("dt_norm", "c_norm"))
    # Jamba's epsilon where there is no norm is of no use, but allowed.
    yield simple("norm_epsilon_without_norms", {"norm_epsilon": 0.5}, Dm=3, Di=6, S=2, W=4, R=1, L=5)

    # A convolution that begins anew after the prefill; one row of history too few or too many, or in another order; a
    # history of one batch for all. One token is prefilled, fewer than taps, one fewer than taps, taps, more.
    yield simple("prefill_1", prefill(1), B=2, Dm=4, Di=8, S=3, W=4, R=2, L=7)
    yield simple("prefill_fewer_than_taps", prefill(2), B=2, Dm=4, Di=7, S=3, W=4, R=2, L=9)
    yield simple("prefill_taps_minus_1", prefill(3), B=2, Dm=4, Di=8, S=2, W=4, R=1, L=8)
    yield simple("prefill_taps", prefill(4), B=1, Dm=5, Di=10, S=3, W=4, R=2, L=9)
    yield simple("prefill_middle", prefill(17), B=2, Dm=3, Di=6, S=4, W=4, R=2, L=32)
    # One step too few or too many: there is one, and there is none.
    yield simple("prefill_all_but_one", prefill(6), B=2, Dm=4, Di=8, S=3, W=4, R=2, L=7)
    yield simple("prefill_all", prefill(7), B=2, Dm=4, Di=8, S=3, W=4, R=2, L=7)
    yield simple("prefill_one_token", prefill(1), B=2, Dm=4, Di=8, S=3, W=4, R=2, L=1)
    # A history of no rows; of more rows than there are tokens.
    yield simple("prefill_taps_1", prefill(2), B=2, Dm=4, Di=8, S=3, W=1, R=2, L=6)
    yield simple("prefill_taps_9", prefill(3), B=2, Dm=3, Di=6, S=2, W=9, R=1, L=6)
    # Norms in the prefill, but not in the steps.
    yield simple("prefill_norms", prefill(3) | {"norm_epsilon": 0.125}, change=small_x_proj, B=2, Dm=4, Di=8, S=3, W=4,
                 R=2, L=8, norms=NORMS)

    # 0 * NaN: a token that is not yet seen, multiplied by 0 in the place of being left out; the other batch. What comes
    # after it sees it through the state.
    yield simple("nan_token", change=nan_at(4), B=2, Dm=4, Di=8, S=2, W=3, R=2, L=8,
                 note=" It was given the NaN at hidden[0,4,1].")
    yield simple("prefill_nan_token", prefill(4), change=nan_at(5), B=2, Dm=4, Di=8, S=2, W=3, R=2, L=8,
                 note=" It was given the NaN at hidden[0,5,1].")


# ---- changes of drawn inputs

def as_initialized(inputs):
    steps = np.exp(np.log(0.001) + np.log(100) * np.linspace(0, 1, len(inputs["dt_bias"])))
    inputs["dt_bias"][:] = steps + np.log(-np.expm1(-steps))
    inputs["a_log"][:] = np.log(np.arange(1, inputs["a_log"].shape[1] + 1))
    inputs["d"][:] = 1


def zero_prefix(inputs):
    inputs["hidden"][:, :5] = 0


def zero_conv_bias(inputs):
    inputs["conv_bias"][:] = 0


def large_steps(inputs):
    """softplus(x) is x to the last bit for these, in PyTorch, which does so from 20 on, and everywhere else."""
    inputs["dt_bias"] += 100
    inputs["x_proj"][inputs["dt_proj"].shape[1]:] /= 8


def frozen(bias):
    def change(inputs):
        inputs["dt_bias"][:] = bias
    return change


def large_hidden(inputs):
    """Weights that bring x and z back."""
    inputs["hidden"] *= 96
    inputs["x_proj"] /= 128
    inputs["d"] /= 4
    inputs["out_proj"] /= 4096


def small_x_proj(inputs):
    inputs["x_proj"] /= 8


def nan_at(token):
    def change(inputs):
        inputs["hidden"][0, token, 1] = np.nan
    return change
