"""Golden cases of retention (RetNet), before any norm.

`expected` comes from the recurrence of simple gated linear attention in flash-linear-attention (fla), in float64, given
the logarithm of the decay as the gate of every token. yet-another-retnet is asked as well, in the form that the case
names and with the case's decay in the place of its own, and so is fla's retention, which knows only the decays
1 - 2^(-5-h), where these are the case's. Both must agree where nothing is NaN: they multiply by 0 what they mask.
"""
import warnings
from unittest import mock

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")     # there is no GPU; what is used here needs none
    from fla.ops.retention import naive as fla_retention
    from fla.ops.simple_gla import naive as fla_simple_gla
    from yet_another_retnet import retention as retnet

from case import Case, random
from grouped_query import all_in_float64

PACKAGES = ["numpy", "torch", "flash-linear-attention", "yet-another-retnet"]
DEFAULTS = {"scale": 1, "form": "parallel"}

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of retention, as the chapters quote it. Every case asserts that it agrees with fla.
def retention(q, k, v, decay, scale=1, state=None):     # q, k [B,H,N,D], v [B,H,N,Dv], decay [H]
    state = torch.zeros(()) if state is None else state                      # [B,H,D,Dv], after the token before
    rows = []
    for n in range(q.shape[2]):
        state = decay[:, None, None] * state + k[:, :, n, :, None] * v[:, :, n, None, :]
        rows.append(scale * (q[:, :, n, None, :] @ state).squeeze(-2))
    return torch.stack(rows, dim=2), state                                   # [B,H,N,Dv], [B,H,D,Dv]


# The same as a matrix of weights, like attention. Every case without NaN asserts that it agrees with fla.
def parallel_retention(q, k, v, decay, scale=1):
    n = torch.arange(q.shape[2])
    distance = (n[:, None] - n[None, :]).clamp(min=0)                        # [N,N]
    weights = (q @ k.mT * decay[:, None, None] ** distance).tril()           # [B,H,N,N]
    return scale * weights @ v                                               # [B,H,N,Dv]


def by_fla(q, k, v, decay, scale, initial_state):
    """`out` and `state`. fla's layout is [B,N,H,·]."""
    gate = decay.log().expand(q.shape[0], q.shape[2], -1)                    # [B,N,H]
    with all_in_float64(fla_simple_gla):
        out, state = fla_simple_gla.naive_recurrent_simple_gla(
            *(x.transpose(1, 2) for x in (q, k, v)), gate, scale, initial_state)
    assert out.dtype == state.dtype == torch.float64
    return out.transpose(1, 2), state


def by_fla_retention(q, k, v, scale):
    """`out` of the decays 1 - 2^(-5-h); its scale is 1/sqrt(D)."""
    with all_in_float64(fla_retention):
        return scale * q.shape[3] ** 0.5 * fla_retention.naive_retention(q, k, v)


def by_retnet(q, k, v, decay, p, state):
    """`out` and `state` in the form p["form"], of which parallel is one chunk. Its scale is a divisor of k, hence 1."""
    N = q.shape[2]
    rows = []
    with (mock.patch.object(retnet, "_build_decay_gammas", lambda **_: decay),
          mock.patch.object(retnet, "_build_decay_mask", retnet._build_decay_mask.__wrapped__)):    # nothing cached
        if p["form"] == "recurrent":
            for n in range(N):
                row, state = retnet.retention_recurrent(*(x[:, :, n] for x in (q, k, v)), state, scale=1)
                rows.append(row[:, :, None])
        else:
            chunk = p["chunk"] if p["form"] == "chunked" else N
            for n in range(0, N, chunk):
                row, state = retnet.retention_chunkwise(*(x[:, :, n:n + chunk] for x in (q, k, v)), state, scale=1)
                rows.append(row)
    return p["scale"] * torch.cat(rows, dim=2), state


def by_others(inputs, params):
    """What must come out."""
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    q, k, v, decay, initial_state = *(t[name] for name in ("q", "k", "v", "decay")), t.get("initial_state")
    p = DEFAULTS | params
    expected = dict(zip(("out", "state"), by_fla(q, k, v, decay, p["scale"], initial_state)))
    found = [dict(zip(("out", "state"), retention(q, k, v, decay, p["scale"], initial_state)))]
    if not any(x.isnan().any() for x in t.values()):
        found.append(dict(zip(("out", "state"), by_retnet(q, k, v, decay, p, initial_state))))
        if initial_state is None:
            found.append({"out": parallel_retention(q, k, v, decay, p["scale"])})
        if like_fla(inputs):
            found.append({"out": by_fla_retention(q, k, v, p["scale"])})
    for others in found:
        for name, tensor in others.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-12, equal_nan=True,
                                       atol=1e-12 * max(1, expected[name].abs().nan_to_num().max().item()))
    return {name: tensor.numpy().copy() for name, tensor in expected.items()}


def like_fla(inputs):
    return "initial_state" not in inputs and np.array_equal(inputs["decay"], retnet_decay(len(inputs["decay"])))


def origin(inputs, params):
    text = ("fla.ops.simple_gla.naive.naive_recurrent_simple_gla, in float64, although it asks for float32, given the "
            "logarithm of decay as the gate of every token.")
    if any(np.isnan(x).any() for x in inputs.values()):
        return text
    form = (DEFAULTS | params)["form"]
    name = f"retention_{'recurrent' if form == 'recurrent' else 'chunkwise'}"
    chunks = {"recurrent": "", "parallel": ", in one chunk", "chunked": f", in chunks of {params.get('chunk')}"}[form]
    text += f" yet_another_retnet.retention.{name}{chunks}, with decay in the place of its own, agreed to 1e-12"
    if like_fla(inputs):
        text += ", and so did fla.ops.retention.naive.naive_retention, times scale * sqrt(D)"
    return text + "."


def retnet_decay(H):
    """RetNet's: 31/32, 63/64, 127/128, ..., of which a bfloat16 holds four."""
    return 1 - 2.0 ** (-5.0 - np.arange(H))


def draw(name, D, Dv, N, B=1, H=1, decay=None, initial=False):
    """Standard normal. The decay, if it is not given: multiples of 1/256 from 1/2 to 1, which every 16-bit format holds
    exactly, as 70 of them are multiplied."""
    generator = random("retention", name)
    normal = generator.standard_normal
    inputs = {"q": normal((B, H, N, D)), "k": normal((B, H, N, D)), "v": normal((B, H, N, Dv)),
              "decay": generator.integers(128, 257, H) / 256 if decay is None else np.array(decay, dtype=np.float64)}
    if initial:
        inputs["initial_state"] = normal((B, H, D, Dv))
    return inputs


def cases():
    def simple(name, params, change=None, note="", **shape):
        inputs = draw(name, **shape)
        if change:
            change(inputs)
        return Case(name, params, inputs, by_others(inputs, params), origin(inputs, params) + note)

    recurrent = {"form": "recurrent"}

    def chunked(chunk):
        return {"form": "chunked", "chunk": chunk}

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, H, N, D, Dv; one decay for all heads; a default that is not the contract's: 1/sqrt(D).
    yield simple("plain", {}, B=2, H=3, N=7, D=5, Dv=3)
    yield simple("all_defaults_named", DEFAULTS, B=2, H=2, N=6, D=3, Dv=4)
    # j < i in the place of j <= i; a decay of the key's own token, or none of the token before.
    yield simple("recurrent", recurrent, B=2, H=3, N=9, D=4, Dv=5)
    # Chunks: what came before is decayed once too often, or once too little; a last chunk of 3.
    yield simple("chunked", chunked(5), B=2, H=3, N=13, D=5, Dv=4)

    # RetNet's decays: taken for their distance to 1, for logarithms, or rounded to 1.
    yield simple("retnet_decay", {}, B=2, H=3, N=33, D=6, Dv=5, decay=retnet_decay(3))
    yield simple("retnet_decay_recurrent", recurrent, H=2, N=37, D=5, Dv=8, decay=retnet_decay(2))
    yield simple("retnet_decay_chunked", chunked(32), H=2, N=70, D=4, Dv=3, decay=retnet_decay(2))
    yield simple("retnet_decay_scale", {"scale": 0.125}, H=8, N=10, D=7, Dv=4, decay=retnet_decay(8))
    # No decay: sums. log(1) = 0 divided by.
    yield simple("decay_1", {}, B=2, H=2, N=11, D=4, Dv=3, decay=[1, 1])
    yield simple("decay_1_chunked", chunked(4), B=2, H=2, N=11, D=3, Dv=4, decay=[1, 1], initial=True)
    # q times decay^n and k times decay^-n, which is infinite in float32, and in the last head in float64.
    small = [1 / 2, 1 / 16, 1 / 65536]
    yield simple("small_decay", {}, H=3, N=70, D=4, Dv=3, decay=small)
    yield simple("small_decay_recurrent", recurrent, H=3, N=12, D=3, Dv=4, decay=small, initial=True)
    yield simple("small_decay_chunked", chunked(35), H=3, N=70, D=3, Dv=4, decay=small, initial=True)

    # A scale of the state, or of k, or of all but what the initial state gives.
    yield simple("scale", {"scale": 0.5, "form": "recurrent"}, B=2, H=2, N=6, D=4, Dv=3, initial=True)
    yield simple("negative_scale_chunked", {"scale": -2, **chunked(3)}, B=2, H=2, N=8, D=3, Dv=5, initial=True)
    # 1 because 0 is read as absent. The state is as it is.
    yield simple("zero_scale", {"scale": 0}, H=2, N=5, D=4, Dv=3)

    # An initial state that the first token does not decay, or that only the first token sees.
    yield simple("initial_state", {}, B=2, H=3, N=8, D=5, Dv=3, initial=True)
    yield simple("initial_state_recurrent", recurrent, B=2, H=2, N=7, D=3, Dv=5, initial=True)
    yield simple("initial_state_chunked", chunked(4), B=3, H=2, N=10, D=4, Dv=6, initial=True)
    # One token: decay * initial_state + k v.
    yield simple("decode", recurrent, B=2, H=3, N=1, D=6, Dv=4, initial=True)
    yield simple("one_token_initial_state", {}, B=2, H=2, N=1, D=3, Dv=4, initial=True)

    # The least of everything.
    yield simple("one_element", {}, N=1, D=1, Dv=1)
    yield simple("two_tokens", {}, B=2, H=2, N=2, D=2, Dv=2)
    # D in the place of Dv as the stride of a state.
    yield simple("wide_values", recurrent, H=2, N=5, D=2, Dv=33)
    yield simple("wide_keys", chunked(3), H=2, N=5, D=33, Dv=2)

    # Chunks of 1, which are the recurrence; of all tokens, and of more than there are: of a state after 8 tokens or 64
    # in the place of 7.
    yield simple("chunk_1", chunked(1), H=2, N=9, D=4, Dv=3, initial=True)
    yield simple("chunk_7_of_7", chunked(7), B=2, H=2, N=7, D=3, Dv=2, initial=True)
    yield simple("chunk_8_of_7", chunked(8), B=2, H=2, N=7, D=4, Dv=3, initial=True)
    yield simple("chunk_64_of_7", chunked(64), H=2, N=7, D=3, Dv=5)
    # A last chunk of one row; chunks that are full; chunks that no tile fits.
    yield simple("chunk_32_of_33", chunked(32), H=2, N=33, D=5, Dv=4)
    yield simple("chunk_32_of_64", chunked(32), N=64, D=4, Dv=6, initial=True)
    yield simple("chunk_33_of_70", chunked(33), N=70, D=6, Dv=5)
    yield simple("chunk_primes", chunked(7), B=2, H=3, N=37, D=13, Dv=11)
    # The same without chunks, where the last tile is partly empty.
    yield simple("tile_crossing", {}, H=2, N=33, D=17, Dv=9)
    yield simple("tile_crossing_recurrent", recurrent, N=65, D=3, Dv=7)

    # 0 * NaN: a key that is not yet seen, multiplied by 0 in the place of being left out.
    yield simple("nan_key", {}, change=nan_at("k", 5, 2), H=2, N=9, D=4, Dv=3,
                 note=" It was given the NaN at k[0,1,5,2].")
    yield simple("nan_value", {}, change=nan_at("v", 33, 1), H=2, N=36, D=2, Dv=3,
                 note=" It was given the NaN at v[0,1,33,1].")
    yield simple("nan_value_recurrent", recurrent, change=nan_at("v", 3, 0), H=2, N=6, D=2, Dv=4,
                 note=" It was given the NaN at v[0,1,3,0].")
    yield simple("nan_value_chunked", chunked(4), change=nan_at("v", 6, 1), H=2, N=10, D=3, Dv=2,
                 note=" It was given the NaN at v[0,1,6,1].")


# ---- changes of drawn inputs

def nan_at(name, token, column):
    def change(inputs):
        inputs[name][0, 1, token, column] = np.nan
    return change
