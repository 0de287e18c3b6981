"""Golden cases of linear attention.

`expected` comes from the recurrence of flash-linear-attention (fla), in float64, and its gradients from autograd. It is
given phi(q) and phi(k); the division by phi(q) · normalizer is its own. Where performer-pytorch has the same function,
which is to say normalised and without epsilon, it is asked as well, and must agree.

fla knows causal attention only. Without a mask it is called twice: for the state that all keys leave, and for what the
queries read from that state, with further keys that are 0.
"""
import warnings

import numpy as np
import torch
from torch.nn.functional import elu

with warnings.catch_warnings():
    warnings.simplefilter("ignore")     # there is no GPU, no flash-attn; what is used here needs neither
    from fla.ops.linear_attn import naive as fla
    from performer_pytorch import performer_pytorch

from case import Case, random
from grouped_query import all_in_float64

PACKAGES = ["numpy", "torch", "flash-linear-attention", "performer-pytorch"]
DEFAULTS = {"feature_map": "elu_plus_one", "causal": False, "normalize": True, "epsilon": 0}

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of linear attention, as the chapters quote it. Every case asserts that it agrees with fla.
def linear_attention(q, k, v, p):                       # q [B,H,Nq,D], k [B,H,Nk,D], v [B,H,Nk,Dv], p the params
    q, k = phi(q, p), phi(k, p)                                              # [B,H,Nq,M], [B,H,Nk,M]
    states, normalizers = k[..., :, None] * v[..., None, :], k               # [B,H,Nk,M,Dv], [B,H,Nk,M]
    if p["causal"]:                                                          # what row i reads: the sums up to key i
        states, normalizers = states.cumsum(dim=2), normalizers.cumsum(dim=2)
    else:                                                                    # one for all rows
        states, normalizers = states.sum(dim=2, keepdim=True), normalizers.sum(dim=2, keepdim=True)
    out = (q[..., None, :] @ states).squeeze(-2)                             # [B,H,Nq,Dv]
    if p["normalize"]:
        out = out / ((q * normalizers).sum(dim=-1, keepdim=True) + p["epsilon"])
    return out, states[:, :, -1], normalizers[:, :, -1]                      # [B,H,Nq,Dv], [B,H,M,Dv], [B,H,M]


def phi(x, p):                                          # M = D: element by element, larger than 0 unless identity
    return x if p["feature_map"] == "identity" else torch.where(x > 0, x + 1, x.exp())


def by_fla(q, k, v, p):
    """`out`, `state` and `normalizer` of q = phi(q) and k = phi(k). fla's layout is [B,N,H,·].

    It adds 1e-10 to the denominator, whatever epsilon is, after it has multiplied q by a scale, here s, which the
    division cancels: (s q) state / ((s q) normalizer + 1e-10) has an epsilon of 1e-10 / s. The s for an epsilon of 0 is
    so large that nothing of 1e-10 is left.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scale = 1.0 if not p["normalize"] else 1e-10 / p["epsilon"] if p["epsilon"] else 2.0 ** 100
    with all_in_float64(fla):
        _, (state, normalizer) = fla.naive_recurrent_linear_attn(k, k, v, 1.0, None, True, normalize=True)
        if p["causal"]:
            out, _ = fla.naive_recurrent_linear_attn(q, k, v, scale, normalize=p["normalize"])
        else:
            nothing = torch.zeros_like(q), v.new_zeros(*q.shape[:3], v.shape[3])
            out, _ = fla.naive_recurrent_linear_attn(
                q, *nothing, scale, (state, normalizer) if p["normalize"] else state, normalize=p["normalize"])
    assert out.dtype == state.dtype == normalizer.dtype == torch.float64
    return out.transpose(1, 2), state, normalizer.squeeze(1)


def by_performer_pytorch(q, k, v, causal):
    """`out` of phi(q) and phi(k), normalised, epsilon 0."""
    if causal:
        return performer_pytorch.causal_linear_attention_noncuda(q, k, v, eps=0)
    return performer_pytorch.linear_attention(q, k, v)


def by_others(inputs, params):
    """What must come out."""
    t = {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in inputs.items()}
    q, k, v = t["q"], t["k"], t["v"]
    p = DEFAULTS | params
    phi_q, phi_k = phi(q, p), phi(k, p)
    if p["feature_map"] == "elu_plus_one":
        for x in (q, k):        # not taken: 1 + (exp(x) - 1) has lost digits, relative to exp(x), where that is small
            torch.testing.assert_close(phi(x, p), elu(x) + 1, rtol=0, atol=1e-15, equal_nan=True)

    names = ("out", "state", "normalizer") if p["causal"] else ("out",)
    expected = dict(zip(names, by_fla(phi_q, phi_k, v, p)))
    others = [dict(zip(names, linear_attention(q, k, v, p)))]
    if p["normalize"] and not p["epsilon"]:
        others.append({"out": by_performer_pytorch(phi_q, phi_k, v, p["causal"])})
    if "d_out" in t:
        for found in (expected, *others):
            gradients = torch.autograd.grad(found["out"], (q, k, v), t["d_out"], retain_graph=True)
            found |= dict(zip(("d_q", "d_k", "d_v"), gradients))
    for found in others:
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-12, equal_nan=True,
                                       atol=1e-12 * max(1, expected[name].abs().nan_to_num().max().item()))
    return {name: tensor.detach().numpy().copy() for name, tensor in expected.items()}


def origin(inputs, params):
    p = DEFAULTS | params
    text = "fla.ops.linear_attn.naive.naive_recurrent_linear_attn, in float64, although it asks for float32"
    if p["feature_map"] == "elu_plus_one":
        text += ", given torch.where(x > 0, x + 1, exp(x)) of q and k"
    if not p["causal"]:
        text += ", called for the state of all keys, and once more for what the queries read from it"
    if p["normalize"]:
        text += (f"; its fixed epsilon of 1e-10 was made {p['epsilon'] or 'less than 1e-38'} by the factor "
                 f"{'1e-10 / epsilon' if p['epsilon'] else '2^100'} on phi(q), which cancels otherwise")
    text += "; gradients: torch.autograd through it." if "d_out" in inputs else "."
    if p["normalize"] and not p["epsilon"]:
        name = "causal_linear_attention_noncuda, eps=0," if p["causal"] else "linear_attention"
        text += f" performer_pytorch's {name} agreed to 1e-12."
    return text


def draw(name, D, Dv, N=None, Nq=None, Nk=None, B=1, H=1, backward=False, coarse=False):
    """As in dense.py: standard normal; `coarse`: multiples of 1/16, which every 16-bit format holds exactly."""
    normal = random("linear_attention", name).standard_normal
    shapes = {"q": (B, H, Nq or N, D), "k": (B, H, Nk or N, D), "v": (B, H, Nk or N, Dv)}
    if backward:
        shapes["d_out"] = (B, H, Nq or N, Dv)
    tensors = {key: normal(shape) for key, shape in shapes.items()}
    return {key: np.round(x * 16) / 16 if coarse else x for key, x in tensors.items()}


def cases():
    def simple(name, params, change=None, note="", **shape):
        inputs = draw(name, **shape)
        if change:
            change(inputs)
        return Case(name, params, inputs, by_others(inputs, params), origin(inputs, params) + note)

    causal, identity = {"causal": True}, {"feature_map": "identity", "normalize": False}
    sums = {"normalize": False}

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, H, Nq, Nk, D, Dv; a default that is not the contract's.
    yield simple("plain", {}, B=2, H=3, Nq=7, Nk=13, D=5, Dv=3)
    # A d_k without the gradient of the denominator, a d_q without the slope of phi.
    yield simple("plain_backward", {}, B=2, H=3, Nq=6, Nk=11, D=5, Dv=7, backward=True)
    # The same with every parameter named; `causal: false` read as true.
    yield simple("all_defaults_named", DEFAULTS, B=2, H=2, Nq=6, Nk=6, D=3, Dv=4)
    # j < i in the place of j <= i; a state of the last but one key; one state for all heads or batches.
    yield simple("causal", causal, B=2, H=3, N=9, D=5, Dv=3)
    # In the backward pass, sums over j <= i in the place of i >= j.
    yield simple("causal_backward", causal, B=2, H=2, N=10, D=4, Dv=6, backward=True)

    # phi forgotten, or applied where it is not asked for; a scale of 1/sqrt(D).
    yield simple("identity", identity, B=2, H=2, Nq=5, Nk=8, D=4, Dv=3)
    yield simple("identity_backward", identity, B=2, H=2, Nq=8, Nk=5, D=3, Dv=5, backward=True)
    yield simple("identity_causal", identity | causal, B=2, H=2, N=11, D=4, Dv=5)
    yield simple("identity_causal_backward", identity | causal, B=2, H=2, N=9, D=5, Dv=4, backward=True)
    # A division that was not asked for; no normalizer although there is no division.
    yield simple("unnormalized", sums, B=2, H=2, Nq=6, Nk=9, D=4, Dv=5)
    yield simple("unnormalized_backward", sums, H=2, Nq=7, Nk=5, D=3, Dv=4, backward=True)
    yield simple("unnormalized_causal", sums | causal, B=2, H=2, N=8, D=5, Dv=4)
    yield simple("unnormalized_causal_backward", sums | causal, H=3, N=7, D=4, Dv=3, backward=True)

    # An epsilon that is fixed, forgotten, or taken for a lower bound.
    yield simple("epsilon", {"epsilon": 0.1}, B=2, H=2, Nq=7, Nk=4, D=3, Dv=5)
    # Forgotten in the backward pass: sums of weights are not 1 with it. Added to the normalizer, D times.
    yield simple("epsilon_backward", {"epsilon": 0.1}, B=2, H=2, Nq=5, Nk=3, D=4, Dv=3, backward=True)
    yield simple("epsilon_causal_backward", causal | {"epsilon": 0.1}, B=2, H=2, N=6, D=3, Dv=4, backward=True)
    # Squares of it, or a root; in float16 it is a subnormal number.
    yield simple("small_epsilon_causal", causal | {"epsilon": 1e-6}, H=2, N=12, D=4, Dv=3)
    # An epsilon that does something where there is no denominator.
    yield simple("epsilon_unnormalized", sums | {"epsilon": 0.1}, H=2, Nq=4, Nk=5, D=3, Dv=2)

    # The least of everything. Nothing here rounds: d_q and d_k are exactly 0, as the division cancels all of phi.
    yield simple("one_element_backward", causal, change=exact, N=1, D=1, Dv=1, backward=True)
    # The second of two tokens: the sum of two.
    yield simple("two_tokens", causal, B=2, H=2, N=2, D=2, Dv=2)
    # One key is the answer of every row. Rows read beyond the end of the keys.
    yield simple("one_key", {}, B=2, H=2, Nq=5, Nk=1, D=3, Dv=2)
    yield simple("one_query", {}, B=2, H=2, Nq=1, Nk=37, D=5, Dv=3)
    # One feature: phi(q) cancels.
    yield simple("one_feature", causal, B=2, H=2, N=7, D=1, Dv=4)
    yield simple("one_value_column_backward", causal, H=2, N=6, D=7, Dv=1, backward=True)
    # D in the place of Dv as the stride of a state.
    yield simple("wide_values", causal, H=2, N=5, D=3, Dv=16)
    yield simple("wide_features_backward", {}, H=2, Nq=6, Nk=5, D=16, Dv=2, backward=True)

    # A slope of 0 or of 2 where x is 0: phi as max(x, 0) + exp(min(x, 0)), and each part differentiated by itself.
    yield simple("zeros_backward", causal, change=every_other_zero, H=2, N=7, D=4, Dv=3, coarse=True, backward=True)
    # exp(x) where x + 1 is asked for: e^9 in the place of 10. In 16 bits, states that are as large as these.
    yield simple("large_inputs", {}, change=times_3, H=2, Nq=9, Nk=17, D=8, Dv=5, coarse=True)
    yield simple("large_inputs_causal_backward", causal, change=times_3, H=2, N=17, D=6, Dv=5, coarse=True,
                 backward=True)
    yield simple("large_inputs_identity", identity | causal, change=times_3, H=2, N=16, D=8, Dv=4, coarse=True)
    # 1 + (exp(x) - 1), which has few digits left here in float32; an epsilon, or a lower bound of the denominator,
    # where none is asked for. The division cancels what is small: weights are as usual.
    yield simple("negative_inputs", {}, change=less_12, H=2, Nq=6, Nk=9, D=4, Dv=3, coarse=True)
    yield simple("negative_inputs_backward", causal, change=less_12, H=2, N=8, D=3, Dv=4, coarse=True, backward=True)
    # The same of queries alone; with an epsilon that is about a hundredth of the denominators.
    yield simple("negative_queries", {}, change=less_12_queries, H=2, Nq=6, Nk=9, D=4, Dv=3, coarse=True)
    yield simple("negative_queries_epsilon_backward", {"epsilon": 1e-6}, change=less_12_queries, H=2, Nq=6, Nk=4, D=3,
                 Dv=4, coarse=True, backward=True)

    # Chunks of 16, 32 or 64: the state of the chunks before is forgotten, or counted twice; a last one of one row.
    yield simple("chunk_31", causal, N=31, D=7, Dv=5)
    yield simple("chunk_32", causal, N=32, D=8, Dv=4)
    yield simple("chunk_33_backward", causal, N=33, D=5, Dv=6, backward=True)
    yield simple("chunk_64", causal, N=64, D=8, Dv=8)
    yield simple("chunk_65_backward", causal, N=65, D=4, Dv=3, backward=True)
    yield simple("chunk_70_unnormalized", causal | sums, H=2, N=70, D=6, Dv=9)
    yield simple("chunk_65_identity_backward", causal | identity, N=65, D=3, Dv=5, backward=True)
    yield simple("chunk_primes", causal, B=2, H=3, N=37, D=13, Dv=11)
    # The same without a mask, where the last tiles of queries and of keys differ.
    yield simple("tile_crossing", {}, H=2, Nq=31, Nk=65, D=6, Dv=5)
    yield simple("tile_crossing_backward", {}, Nq=65, Nk=33, D=4, Dv=5, backward=True)
    yield simple("more_queries", {}, B=2, H=2, Nq=37, Nk=3, D=5, Dv=4)

    # 0 * NaN: a masked key of the same chunk, multiplied by 0 in the place of being left out.
    yield simple("causal_nan_key", causal, change=nan_at("k", 5, 2), H=2, N=9, D=4, Dv=3,
                 note=" It was given the NaN at k[0,1,5,2].")
    yield simple("causal_nan_value", causal, change=nan_at("v", 33, 1), H=2, N=36, D=2, Dv=3,
                 note=" It was given the NaN at v[0,1,33,1].")


# ---- changes of drawn inputs

def exact(inputs):
    inputs["q"][:], inputs["k"][:], inputs["v"][:], inputs["d_out"][:] = 0, 1, 3, 0.5


def every_other_zero(inputs):
    inputs["q"][..., ::2], inputs["k"][..., 1::2] = 0, 0
    inputs["q"][..., 1] *= -1


def times_3(inputs):
    inputs["q"] *= 3
    inputs["k"] *= 3


def less_12_queries(inputs):
    inputs["q"] -= 12


def less_12(inputs):
    inputs["q"] -= 12
    inputs["k"] -= 12


def nan_at(name, token, column):
    def change(inputs):
        inputs[name][0, 1, token, column] = np.nan
    return change
