"""Golden cases of a mixture of experts: a router, and the feed-forward layers that it chooses from.

`expected` comes from transformers, in float64: from its Jamba block where the weights stay as they are, from its
Mixtral block where they are renormalised. They choose by torch.topk, which promises no order of equal weights: where
there are such among the k + 1 largest, the case says so, and torch.topk is replaced by a stable sort.
"""
from unittest import mock

import numpy as np
import torch
from torch.nn.functional import silu
from transformers.models.jamba import modeling_jamba
from transformers.models.jamba.configuration_jamba import JambaConfig
from transformers.models.mixtral import modeling_mixtral
from transformers.models.mixtral.configuration_mixtral import MixtralConfig

from case import Case, random
from grouped_query import all_in_float64

PACKAGES = ["numpy", "torch", "transformers"]

torch.set_num_threads(1)    # the same order of additions in every run


# The whole of a mixture of experts, as the chapters quote it. Every case asserts that it agrees with transformers.
def mixture_of_experts(w, k, renormalize=False):        # w: hidden [B,N,Dm], router [E,Dm], …
    p = (w["hidden"] @ w["router"].mT).softmax(dim=-1)                       # [B,N,E], over all experts
    p, experts = (t[..., :k] for t in p.sort(descending=True, stable=True))  # [B,N,k]
    p = p / p.sum(dim=-1, keepdim=True) if renormalize else p
    out, x = 0, w["hidden"][..., None]                                       # [B,N,Dm], [B,N,Dm,1]
    for r in range(k):
        gate, up, down = (w[name][experts[..., r]] for name in ("gate", "up", "down"))     # [B,N,Df,Dm], …, …
        out = out + p[..., r, None] * (down @ (silu(gate @ x) * (up @ x))).squeeze(-1)
    return out, experts.int()                                                # [B,N,Dm], [B,N,k]


def stable_topk(weights, k, dim):
    return tuple(t[..., :k] for t in weights.sort(dim=dim, descending=True, stable=True))


def by_transformers(inputs, k, renormalize, ties):
    """What must come out."""
    w = {name: torch.tensor(array, dtype=torch.float64) for name, array in inputs.items()}
    (E, Df, Dm), hidden = w["gate"].shape, w["hidden"]
    sizes = dict(hidden_size=Dm, intermediate_size=Df, num_local_experts=E, num_experts_per_tok=k, hidden_act="silu")
    module = modeling_mixtral if renormalize else modeling_jamba
    config = MixtralConfig(**sizes) if renormalize else JambaConfig(**sizes, num_experts=E)
    config._experts_implementation = "eager"
    with torch.no_grad(), all_in_float64(module):
        block = module.MixtralSparseMoeBlock(config) if renormalize else module.JambaSparseMoeBlock(config)
        block = block.double().eval()
        router = block.gate if renormalize else block.router
        router.weight.copy_(w["router"])
        block.experts.gate_up_proj.copy_(torch.cat((w["gate"], w["up"]), dim=1))
        block.experts.down_proj.copy_(w["down"])
        with mock.patch.object(torch, "topk", stable_topk if ties else torch.topk):
            out = block(hidden)
            _, weights, experts = router(hidden.flatten(0, 1))
    assert out.dtype == weights.dtype == torch.float64
    assert ((weights[:, :-1] >= weights[:, 1:]) | weights[:, 1:].isnan()).all()
    expected = {"out": out, "experts": experts.reshape(*hidden.shape[:2], k).int()}
    for name, tensor in zip(expected, mixture_of_experts(w, k, renormalize)):
        torch.testing.assert_close(tensor, expected[name], rtol=1e-12, atol=1e-13, equal_nan=True)
    return {name: tensor.numpy().copy() for name, tensor in expected.items()}


def has_ties(inputs, k):
    """Among the k + 1 largest scores of a token, which are exact in float32."""
    scores = -np.sort(-inputs["hidden"].astype(float) @ inputs["router"].T.astype(float))[..., :k + 1]
    return (scores[..., 1:] == scores[..., :-1]).any()


def draw(generator, N, E, Dm, Df, B):
    """hidden and router: multiples of 1/8, so that every score is exact, and the choice the same, in 16 bits too. The
    weights of the experts: standard normal, divided by the root of what they are summed over."""
    def grid(*shape):
        return (np.round(generator.standard_normal(shape) * 8) / 8 + 0.0).astype(np.float32)

    def weight(*shape):
        return (generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    return {"hidden": grid(B, N, Dm), "router": grid(E, Dm), "gate": weight(E, Df, Dm), "up": weight(E, Df, Dm),
            "down": weight(E, Dm, Df)}


def cases():
    def simple(name, N, E, k, Dm, Df, B=1, change=None, ties=False, note="", **params):
        generator = random("mixture_of_experts", name)
        while True:
            inputs = draw(generator, N, E, Dm, Df, B)
            if change:
                change(inputs)
            if ties or not has_ties(inputs, k):
                break
        renormalize = params.get("renormalize", False)
        model = "mixtral" if renormalize else "jamba"
        origin = (f"transformers.models.{model}.modeling_{model}.{model.title()}SparseMoeBlock, eager, in float64, its "
                  "softmax too, which asks for float32; experts: its router.")
        if ties:
            origin += " Its torch.topk was replaced by a stable sort, as equal weights have no order in the former."
        return Case(name, {"top_k": k} | params, inputs, by_transformers(inputs, k, renormalize, ties), origin + note)

    renormalized = {"renormalize": True}

    # The wrong answer that a case kills stands above it.

    # Any exchange of two of B, N, E, Dm, Df; gate and up exchanged; another token's experts.
    yield simple("plain", B=2, N=7, E=4, k=2, Dm=5, Df=6)
    # The same with every parameter named; `renormalize: false` read as true.
    yield simple("all_defaults_named", B=2, N=5, E=5, k=3, Dm=4, Df=3, renormalize=False)
    # Weights that are divided by the sum over all, or not at all; a softmax over the chosen scores is the same.
    yield simple("renormalized", B=2, N=7, E=4, k=2, Dm=5, Df=6, **renormalized)
    yield simple("renormalized_3_of_7", B=1, N=9, E=7, k=3, Dm=4, Df=5, **renormalized)
    # A weight that is left out where there is one expert only.
    yield simple("top_1", B=2, N=6, E=5, k=1, Dm=4, Df=5)
    yield simple("top_1_renormalized", B=1, N=6, E=5, k=1, Dm=4, Df=5, **renormalized)
    # All experts: their order is all that is chosen.
    yield simple("top_all", B=1, N=6, E=5, k=5, Dm=4, Df=4)
    yield simple("top_all_renormalized", B=1, N=6, E=5, k=5, Dm=4, Df=4, **renormalized)
    # No choice: a dense layer.
    yield simple("one_expert", B=2, N=5, E=1, k=1, Dm=6, Df=9)
    # The least of everything.
    yield simple("one_element", N=1, E=1, k=1, Dm=1, Df=1)
    yield simple("one_token", N=1, E=6, k=2, Dm=5, Df=4)
    yield simple("one_number", N=4, E=3, k=2, Dm=1, Df=3)
    yield simple("one_unit", N=5, E=4, k=2, Dm=3, Df=1)

    # As in Jamba: 2 of 16.
    yield simple("jamba", B=2, N=9, E=16, k=2, Dm=4, Df=6)
    # Sizes that no tile, warp or power of 2 fits.
    yield simple("experts_33", N=10, E=33, k=5, Dm=5, Df=3)
    yield simple("experts_70", N=3, E=70, k=33, Dm=6, Df=1, **renormalized)
    yield simple("dimension_70", N=5, E=2, k=1, Dm=70, Df=3)
    yield simple("units_70", N=5, E=2, k=2, Dm=3, Df=70)
    yield simple("primes", B=3, N=11, E=7, k=3, Dm=5, Df=13)
    # More tokens of one expert than a tile has; a last tile of one token.
    yield simple("tokens_70", N=70, E=3, k=2, Dm=4, Df=5)
    yield simple("tokens_65", B=5, N=13, E=2, k=2, Dm=3, Df=4)

    # Experts without tokens, before, between and after those that have some.
    yield simple("all_to_one", B=2, N=35, E=5, k=1, Dm=4, Df=3, change=all_to(2))
    yield simple("all_to_the_last", N=9, E=6, k=1, Dm=4, Df=3, change=all_to(5))

    # Equal weights: the lower index first, and of those that are left out the higher.
    yield simple("no_router", N=4, E=6, k=3, Dm=4, Df=3, change=no_router, ties=True)
    yield simple("equal_rows", B=2, N=6, E=6, k=3, Dm=4, Df=3, change=equal_rows, ties=True)
    yield simple("equal_rows_renormalized", N=6, E=6, k=4, Dm=4, Df=3, change=equal_rows, ties=True, **renormalized)

    # exp without a maximum is infinite; weights that are 0 in float32, and still have an order.
    yield simple("large_scores", B=2, N=6, E=5, k=3, Dm=4, Df=3, change=times("router", 32))
    yield simple("large_scores_renormalized", N=6, E=5, k=3, Dm=4, Df=3, change=times("router", 32), **renormalized)
    yield simple("large_scores_top_all", N=6, E=5, k=5, Dm=4, Df=3, change=times("router", 64))
    # Scores that are all far below 0.
    yield simple("negative_scores", N=6, E=4, k=2, Dm=4, Df=3, change=below_zero)
    # exp(-z) of the silu is infinite in float32; z itself, or 0, comes out.
    yield simple("large_gates", N=6, E=3, k=2, Dm=4, Df=5, change=times("gate", 256))

    # A NaN token: of all experts, of another token.
    yield simple("nan_token", B=2, N=5, E=4, k=2, Dm=4, Df=3, change=nan_token, ties=True,
                 note=" It was given the NaN at hidden[1,2,1], of which every weight is NaN: equal.")


# ---- changes of drawn inputs

def all_to(expert):
    def change(inputs):
        inputs["hidden"][..., 0] = 4
        inputs["router"][:, 0] = 0
        inputs["router"][expert, 0] = 8
    return change


def no_router(inputs):
    inputs["router"][:] = 0


def equal_rows(inputs):
    inputs["router"][3] = inputs["router"][1]
    inputs["router"][5] = inputs["router"][2]


def times(name, factor):
    def change(inputs):
        inputs[name] *= np.float32(factor)
    return change


def below_zero(inputs):
    inputs["hidden"][..., 0] = 16
    inputs["router"][:, 0] = -64


def nan_token(inputs):
    inputs["hidden"][1, 2, 1] = np.nan
