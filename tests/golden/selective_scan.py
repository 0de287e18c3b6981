"""Golden cases of the selective scan (Mamba).

`expected` comes from mamba-ssm's selective_scan_ref, in float64. What it does not know is given to it as inputs that it
knows. An initial state: S tokens before the first, each of which writes one column and decays nothing. Zero-order hold:
for each channel its own b, which is b times the factor that scipy's cont2discrete finds for one state. Where there is
nothing but Euler, mambapy's parallel scan is asked as well, and must agree.

Importing mamba_ssm needs its CUDA extension. The function needs no more than PyTorch: it is taken out of its file.
"""
import ast
import importlib.util
import pathlib
import sys

import einops
import numpy as np
import torch
from mambapy.mamba import MambaBlock
from scipy.signal import cont2discrete
from torch.nn.functional import pad, silu, softplus

from case import Case, random
from grouped_query import all_in_float64

PACKAGES = ["numpy", "torch", "mamba-ssm", "mambapy", "scipy"]
DEFAULTS = {"delta_softplus": False, "discretization": "euler"}

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of the selective scan, as the chapters quote it: t are the inputs, p the params. Every case asserts that it
# agrees with mamba-ssm.
def selective_scan(t, p):
    delta = t["delta"] + t.get("delta_bias", torch.zeros(1))[:, None]                            # [B,D,L]
    delta = (softplus(delta) if p["delta_softplus"] else delta).mT[..., None]                    # [B,L,D,1]
    x = delta * t["a"]                                                                           # [B,L,D,S]
    factor = torch.where(x == 0, 1, x.expm1() / x) if p["discretization"] == "zoh" else 1
    written = factor * delta * t["b"].mT[:, :, None] * t["u"].mT[..., None]                      # [B,L,D,S]
    h, rows = t.get("initial_state", torch.zeros(())), []                                        # [B,D,S]
    for n in range(x.shape[1]):
        h = x[:, n].exp() * h + written[:, n]
        rows.append((h * t["c"][:, None, :, n]).sum(dim=-1))
    out = torch.stack(rows, dim=-1) + t.get("d", torch.zeros(1))[:, None] * t["u"]               # [B,D,L]
    return out * silu(t["z"]) if "z" in t else out, h


def function_of(package, path, name, **names):
    """A function of a package that cannot be imported here, with `names` as its globals."""
    spec = importlib.util.find_spec(package)
    if not spec:
        sys.exit(f"there is no {package}; requirements.txt says how to install it")
    file = pathlib.Path(spec.origin).parent / path
    found = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", None) == name]
    exec(compile(ast.Module(found, type_ignores=[]), file, "exec"), names)
    return names[name]


selective_scan_ref = function_of("mamba_ssm", "ops/selective_scan_interface.py", "selective_scan_ref", torch=torch,
                                 F=torch.nn.functional, rearrange=einops.rearrange, repeat=einops.repeat)


def zero_order_hold(x):
    """(exp(x) - 1) / x: what one state h' = x h + u, in the time 1, takes of u."""
    found = [cont2discrete((np.array([[one]]), np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 1))), 1.0, "zoh")[1]
             for one in x.flatten().tolist()]
    return torch.tensor(np.array(found)).reshape(x.shape)


def by_mamba_ssm(t, p):
    """`out` and `last_state`."""
    u, delta, a, b, c, z, bias = *(t[name] for name in ("u", "delta", "a", "b", "c")), t.get("z"), t.get("delta_bias")
    D, S = a.shape
    if p["discretization"] == "zoh":
        steps = delta if bias is None else delta + bias[:, None]
        steps = softplus(steps) if p["delta_softplus"] else steps
        b = b[:, None] * zero_order_hold(steps[:, :, None] * a[:, :, None])                      # [B,D,S,L]
    if "initial_state" in t:
        # In a step of 2^-100, b is a unit vector and u what makes the product of the three a column of the state.
        before = torch.full((D, S), np.log(2.0 ** -100) if p["delta_softplus"] else 2.0 ** -100, dtype=torch.float64)
        before = before if bias is None else before - bias[:, None]
        steps = before if bias is None else before + bias[:, None]
        steps = softplus(steps) if p["delta_softplus"] else steps
        u = torch.cat((t["initial_state"] / steps, u), dim=-1)
        delta = torch.cat((before.expand(len(u), -1, -1), delta), dim=-1)
        b = torch.cat((torch.eye(S, dtype=torch.float64).expand(*b.shape[:-1], -1), b), dim=-1)
        c, z = pad(c, (S, 0)), None if z is None else pad(z, (S, 0))
    with all_in_float64():
        out, last_state = selective_scan_ref(u, delta, a, b, c, t.get("d"), z, bias, p["delta_softplus"],
                                             return_last_state=True)
    return out[..., -t["u"].shape[2]:], last_state


def gradients(function, t, p):
    """What autograd makes of d_out, by the names of the outputs: d_u is that of u."""
    inputs = {name: x.clone().requires_grad_() for name, x in t.items() if name != "d_out"}
    out, _ = function(inputs, p)
    return {"d_" + name: x for name, x in zip(inputs, torch.autograd.grad(out, inputs.values(), t["d_out"]))}


def by_mambapy(t, p):
    """`out`; its layout is [B,L,·], and it leaves to its caller what is done with delta and z."""
    delta = t["delta"] + t["delta_bias"][:, None] if "delta_bias" in t else t["delta"]
    delta = softplus(delta) if p["delta_softplus"] else delta
    d = t.get("d", torch.zeros(1))
    out = MambaBlock.selective_scan(None, t["u"].mT, delta.mT, t["a"], t["b"].mT, t["c"].mT, d).mT
    return out * silu(t["z"]) if "z" in t else out


def only_euler(inputs, params):
    return (params.get("discretization", "euler") == "euler" and "initial_state" not in inputs
            and not any(np.isnan(x).any() for x in inputs.values()))


def by_others(inputs, params):
    """What must come out."""
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    p = DEFAULTS | params
    expected = dict(zip(("out", "last_state"), by_mamba_ssm(t, p)))
    if "d_out" in t:
        expected |= gradients(by_mamba_ssm, t, p)
    assert all(tensor.dtype == torch.float64 for tensor in expected.values())
    found = [dict(zip(("out", "last_state"), selective_scan(t, p)))]
    if "d_out" in t:
        found[0] |= gradients(selective_scan, t, p)
    if only_euler(inputs, params):
        found.append({"out": by_mambapy(t, p)})
    for others in found:
        for name, tensor in others.items():
            largest = expected[name].abs().nan_to_num().max().item()
            torch.testing.assert_close(tensor, expected[name], rtol=1e-12, atol=1e-12 * largest, equal_nan=True)
    return {name: tensor.numpy().copy() for name, tensor in expected.items()}


def origin(inputs, params):
    text = "mamba_ssm.ops.selective_scan_interface.selective_scan_ref, in float64, although it asks for float32"
    if params.get("discretization") == "zoh":
        text += ("; for zero-order hold it was given, as the b of each channel, b times the input matrix that "
                 "scipy.signal.cont2discrete, zoh, finds for one state of delta * a in the time 1")
    if "initial_state" in inputs:
        text += ("; the initial state was written by S tokens before the first, with delta = 2^-100, b a unit vector, "
                 "u = initial_state / delta")
    text += "."
    if "d_out" in inputs:
        text += " Gradients are those that PyTorch's autograd takes of it."
    if only_euler(inputs, params):
        text += " mambapy.mamba.MambaBlock.selective_scan agreed to 1e-12."
    return text


def draw(name, D, S, L, B=1, extra=(), positive=True):
    """Standard normal; a negative; delta positive, unless softplus makes it so. Optional inputs are drawn last."""
    normal = random("selective_scan", name).standard_normal
    inputs = {"u": normal((B, D, L)), "delta": normal((B, D, L)), "a": -np.exp(normal((D, S)) / 2),
              "b": normal((B, S, L)), "c": normal((B, S, L))}
    if positive:
        inputs["delta"] = np.exp(inputs["delta"] / 2) / 4
    shapes = {"d": (D,), "z": (B, D, L), "delta_bias": (D,), "initial_state": (B, D, S), "d_out": (B, D, L)}
    return inputs | {key: normal(shape) for key, shape in shapes.items() if key in extra}


def cases():
    def simple(name, params=None, change=None, note="", **shape):
        params = params or {}
        inputs = draw(name, positive=not params.get("delta_softplus"), **shape)
        if change:
            change(inputs)
        return Case(name, params, inputs, by_others(inputs, params), origin(inputs, params) + note)

    plus, zoh = {"delta_softplus": True}, {"discretization": "zoh"}
    everything = ("d", "z", "delta_bias", "initial_state")

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, D, S, L; exp(a) in the place of a; b of another token or batch.
    yield simple("plain", B=2, D=5, S=3, L=7)
    # The same with every parameter named; `delta_softplus: false` read as true.
    yield simple("all_defaults_named", DEFAULTS, B=2, D=3, S=4, L=6)
    # d forgotten, or added to the state, or after the gate.
    yield simple("d", B=2, D=4, S=3, L=6, extra=("d",))
    # A sigmoid in the place of z * sigmoid(z); a gate of the state.
    yield simple("z", B=2, D=4, S=3, L=6, extra=("z",))
    yield simple("d_and_z", B=2, D=3, S=5, L=8, extra=("d", "z"))
    # The bias without softplus; softplus without the bias; softplus before the bias.
    yield simple("delta_bias", change=positive_bias, B=2, D=4, S=3, L=6, extra=("delta_bias",))
    yield simple("delta_softplus", plus, B=2, D=4, S=3, L=6)
    yield simple("delta_bias_softplus", plus, B=2, D=5, S=2, L=7, extra=("delta_bias",))
    # An initial state that the first token does not decay, or that only the first token sees.
    yield simple("initial_state", B=2, D=4, S=3, L=7, extra=("initial_state",))
    yield simple("everything", plus, B=2, D=5, S=4, L=9, extra=everything)

    # Euler in the place of zero-order hold: delta * b; a factor of b alone, without delta.
    yield simple("zoh", zoh, B=2, D=4, S=3, L=7)
    yield simple("zoh_everything", zoh | plus, B=2, D=3, S=4, L=8, extra=everything)
    # 0 / 0 where delta is 0.
    yield simple("zoh_zero_delta", zoh, change=every_other_delta_zero, B=2, D=3, S=2, L=6, extra=("initial_state",))
    # exp(x) - 1, which has few digits left in float32.
    yield simple("zoh_small_steps", zoh, change=small_a, B=2, D=3, S=2, L=6)
    # exp(x) is 0: what is left is -1 / a, whatever delta.
    yield simple("zoh_large_steps", zoh, change=large_a, B=2, D=3, S=4, L=7)
    yield simple("zoh_tokens_33", zoh, B=1, D=3, S=2, L=33, extra=("d", "z"))

    # log(1 + exp(x)): infinite, and delta itself where x is large.
    yield simple("large_delta_softplus", plus, change=large_delta, B=2, D=3, S=2, L=6)
    yield simple("zoh_large_delta_softplus", plus | zoh, change=large_delta, B=1, D=3, S=2, L=6)
    # A delta of 0 neither decays nor writes.
    yield simple("zero_delta", change=every_other_delta_zero, B=2, D=3, S=2, L=8, extra=("initial_state",))

    # The least of everything.
    yield simple("one_element", D=1, S=1, L=1)
    yield simple("decode", plus, B=3, D=6, S=4, L=1, extra=everything)
    yield simple("two_tokens", B=2, D=2, S=2, L=2)
    yield simple("one_state", plus, B=2, D=5, S=1, L=9, extra=("d",))
    yield simple("one_channel", plus, B=2, D=1, S=6, L=9, extra=("z",))

    # Sizes that no tile, warp or power of 2 fits; 16 as in the paper.
    yield simple("states_16", plus, B=1, D=6, S=16, L=12, extra=("d", "z", "delta_bias"))
    yield simple("states_33", B=1, D=2, S=33, L=5)
    yield simple("channels_33", plus, B=2, D=33, S=2, L=5, extra=("delta_bias",))
    yield simple("channels_70", B=1, D=70, S=3, L=3, extra=("d",))
    yield simple("primes", plus, B=3, D=7, S=5, L=37, extra=everything)

    # Chunks of a parallel scan: the state of the chunks before is forgotten, or decayed twice; a last one of one token.
    yield simple("tokens_31", B=1, D=3, S=2, L=31)
    yield simple("tokens_33", plus, B=2, D=2, S=3, L=33)
    yield simple("tokens_64", B=1, D=3, S=4, L=64, extra=("initial_state",))
    yield simple("tokens_65", plus, B=1, D=2, S=2, L=65, extra=everything)
    yield simple("tokens_70", B=2, D=3, S=2, L=70)
    # A state that lives as long as the sequence.
    yield simple("slow_decay", change=small_a, B=1, D=3, S=2, L=70, extra=("initial_state",))
    # A division by the product of all decays, which is 0.
    yield simple("fast_decay", change=large_a, B=1, D=3, S=4, L=40, extra=("initial_state",))

    # Gradients: of a state that reaches its own token only, or that fades by the exp of the token before; sums over the
    # channels (b, c) or the sequences (a, d) that are one of them.
    yield simple("backward", B=2, D=3, S=2, L=7, extra=("d_out",))
    yield simple("backward_all_inputs", plus, B=2, D=3, S=3, L=7, extra=everything[:3] + ("d_out",))
    yield simple("backward_one_token", plus, B=1, D=2, S=2, L=1, extra=("d", "z", "d_out"))
    yield simple("backward_tokens_33", plus, B=1, D=2, S=4, L=33, extra=("d", "d_out"))

    # 0 * NaN: a token that is not yet seen, multiplied by 0 in the place of being left out; another channel, or batch.
    yield simple("nan_u", change=nan_at("u", 1, 5), B=2, D=3, S=2, L=9, note=" It was given the NaN at u[0,1,5].")
    yield simple("nan_b", change=nan_at("b", 1, 33), B=2, D=3, S=2, L=36, note=" It was given the NaN at b[0,1,33].")


# ---- changes of drawn inputs

def positive_bias(inputs):
    inputs["delta_bias"] = np.exp(inputs["delta_bias"] / 2) / 2


def every_other_delta_zero(inputs):
    inputs["delta"][..., ::2] = 0


def small_a(inputs):
    inputs["a"] *= 2.0 ** -16


def large_a(inputs):
    """All but the first column."""
    inputs["a"][:, 1:] *= 1024


def large_delta(inputs):
    """softplus(x) is x to the last bit for these, in PyTorch, which does so from 20 on, and everywhere else."""
    inputs["delta"][..., 1::3] = [40, 1000]
    inputs["delta"][..., 2::3] = 100


def nan_at(name, row, token):
    def change(inputs):
        inputs[name][0, row, token] = np.nan
    return change
