"""Golden cases of the WKV of RWKV, version 4.

`expected` comes from transformers' rwkv_linear_attention_cpu, in float64. It is given log(time_decay), of which it
takes the exponential. Its state is numerator, denominator and exponent, which is the running maximum, in this order.
"""
import numpy as np
import torch
from transformers.models.rwkv import modeling_rwkv

from case import Case, random
from grouped_query import all_in_float64

PACKAGES = ["numpy", "torch", "transformers"]
ORIGIN = ("transformers.models.rwkv.modeling_rwkv.rwkv_linear_attention_cpu, in float64, although it asks for float32, "
          "given log(time_decay).")

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of WKV, as the chapters quote it. Every case without NaN asserts that it agrees with transformers.
def wkv(time_decay, time_first, key, value):            # [D], [D], [B,L,D], [B,L,D]
    t = torch.arange(key.shape[1])
    between = (t[:, None] - t[None, :] - 1)[..., None]                       # [L,L,1], tokens from key i to row t
    exponents = key[:, None] - time_decay * between                          # [B,L,L,D]
    exponents = exponents.where(between >= 0, (key + time_first)[:, None])   # row t's own key: a bonus, no decay
    exponents = exponents.where(between >= -1, -torch.inf)                   # keys after it
    out = (exponents.softmax(dim=2) * value[:, None]).sum(dim=2)             # [B,L,D]

    left = key - time_decay * (len(t) - 1 - t)[:, None]                      # [B,L,D], exponents for the next row
    exponent = left.amax(dim=1)                                              # [B,D]
    weights = (left - exponent[:, None]).exp()
    return out, torch.stack([(weights * value).sum(dim=1), weights.sum(dim=1), exponent], dim=1)


def by_transformers(inputs):
    """What must come out."""
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    w, u, key, value = (t[name] for name in ("time_decay", "time_first", "key", "value"))
    with all_in_float64(modeling_rwkv):
        out, state = modeling_rwkv.rwkv_linear_attention_cpu(w.log(), u, key, value, return_state=True)
    expected = {"out": out, "state": torch.stack(state, dim=1)}
    assert all(tensor.dtype == torch.float64 for tensor in expected.values())
    if not value.isnan().any():
        for name, tensor in zip(("out", "state"), wkv(w, u, key, value)):
            torch.testing.assert_close(tensor, expected[name], rtol=1e-12,
                                       atol=1e-12 * max(1, expected[name].abs().max().item()))
    return {name: tensor.numpy().copy() for name, tensor in expected.items()}


def draw(name, L, D, B=1):
    """time_decay: powers of 2 from 1/32 to 2, as in 16 bits an error would grow with the distance; time_first and key:
    multiples of 1/16; value: standard normal."""
    generator = random("rwkv", name)
    normal = generator.standard_normal
    return {"time_decay": 2.0 ** generator.integers(-5, 2, D), "time_first": np.round(normal(D) * 16) / 16 + 0.0,
            "key": np.round(normal((B, L, D)) * 16) / 16 + 0.0, "value": normal((B, L, D))}


def cases():
    def simple(name, change=None, note="", **shape):
        inputs = draw(name, **shape)
        if change:
            change(inputs)
        return Case(name, {}, inputs, by_transformers(inputs), ORIGIN + note)

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, L, D; w read as exp(w), or as its negative; one w or u for all channels.
    yield simple("plain", B=2, L=7, D=5)
    # The bonus left in the state, or the row's own key decayed, or the key before it decayed once.
    yield simple("two_tokens", B=3, L=2, D=4)
    # One token: its value is the answer, whatever the rest. The state has no bonus.
    yield simple("one_token", B=2, L=1, D=6)
    # The least of everything.
    yield simple("one_element", L=1, D=1)
    yield simple("one_channel", B=2, L=9, D=1)

    # Channels and tokens that no warp or tile fits; a chunk's decay once too often.
    yield simple("channels_33", B=2, L=11, D=33)
    yield simple("channels_70", B=1, L=5, D=70)
    yield simple("tokens_31", B=2, L=31, D=3)
    yield simple("tokens_33", B=2, L=33, D=4)
    yield simple("tokens_64", B=1, L=64, D=6)
    yield simple("tokens_70", B=3, L=70, D=5)
    yield simple("primes", B=3, L=37, D=13)

    # A mean of almost all values; a state that forgets them with a chunk.
    yield simple("slow_decay", change=decay(2.0 ** -12), B=2, L=65, D=4)
    # The last two tokens only: e^(w n) is infinite.
    yield simple("fast_decay", change=decay(64), B=2, L=40, D=4)
    # A row of its own value alone; a row without it.
    yield simple("large_time_first", change=time_first(400), B=2, L=8, D=4)
    yield simple("negative_time_first", change=time_first(-400), B=2, L=8, D=4)

    # No maximum: e^400 is infinite in float32, e^800 in float64; 0 / 0 with e^-400, with e^-800.
    yield simple("large_keys", change=keys_near(400, 2), B=2, L=9, D=5)
    yield simple("huge_keys", change=keys_near(800, 4), B=2, L=9, D=5)
    yield simple("negative_keys", change=keys_near(-400, 2), B=2, L=9, D=5)
    yield simple("hugely_negative_keys", change=keys_near(-800, 4), B=2, L=9, D=5)
    # A maximum of the first key or chunk that stays; one of all keys, with which the first rows are 0 / 0.
    yield simple("rising_keys", change=slope(16), B=2, L=36, D=4)
    # A maximum that does not decay with the state, or follows the last key: then e^(k - m) is infinite.
    yield simple("falling_keys", change=slope(-16), B=2, L=36, D=4)
    # As fast as the decay: all keys weigh about the same.
    yield simple("falling_with_decay", change=falling_with_decay, B=2, L=20, D=4)

    # A key that weighs nothing: -inf - -inf.
    yield simple("infinitely_negative_keys", change=infinitely_negative, B=2, L=7, D=4)
    # 0 * NaN: a value that is not yet seen, multiplied by 0 in the place of being left out; another channel's.
    yield simple("nan_value", change=nan_value, B=2, L=9, D=4, note=" It was given the NaN at value[0,4,1].")


# ---- changes of drawn inputs

def decay(w):
    def change(inputs):
        inputs["time_decay"][:] = w
    return change


def time_first(u):
    def change(inputs):
        inputs["time_first"] = u + 4 * np.round(inputs["time_first"])
    return change


def keys_near(center, step):
    """Multiples of `step`, which bfloat16 holds exactly."""
    def change(inputs):
        inputs["key"] = center + step * np.round(inputs["key"]) + 0.0
    return change


def slope(step):
    def change(inputs):
        L = inputs["key"].shape[1]
        inputs["key"] = step * ((np.arange(L) - L // 2)[:, None] + np.round(inputs["key"])) + 0.0
    return change


def falling_with_decay(inputs):
    inputs["time_decay"][:] = 4
    L = inputs["key"].shape[1]
    inputs["key"] = np.round(inputs["key"]) - 4.0 * np.arange(L)[:, None]


def infinitely_negative(inputs):
    inputs["key"][0, 2, 1] = inputs["key"][1, 3:5, 2] = inputs["key"][1, 6, 0] = -np.inf


def nan_value(inputs):
    inputs["value"][0, 4, 1] = np.nan
