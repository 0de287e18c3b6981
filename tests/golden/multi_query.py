"""Golden cases of multi-query attention: all query heads read one key head, G = 1. Made as in grouped_query.py."""
import numpy as np

from grouped_query import PACKAGES, Maker


def cases():
    make = Maker("multi_query")
    causal = {"causal": True}

    # The wrong answer that a case kills stands above it.

    # A key head for each query head, read beyond the end of the only one; any exchange of H, Nq, Nk, D, Dv.
    yield make.simple("plain", {}, B=2, H=5, G=1, Nq=4, Nk=7, D=6, Dv=3, dtype=np.float64)
    # d_k and d_v of one head in the place of the sum over all.
    yield make.simple("plain_backward", {}, B=2, H=4, G=1, Nq=5, Nk=6, D=3, Dv=4, backward=True)
    # H = G = 1 and one of everything: d_q and d_k that are not exactly 0 although softmax of one score is constant.
    yield make.simple("one_element", {"causal": True, "prefill": 1, "page": 1}, B=1, H=1, G=1, Nq=1, D=1, Dv=1,
                      backward=True)
    # All heads folded into rows h * Nq + i, and the row taken for the position.
    yield make.simple("causal_backward", causal, B=2, H=3, G=1, Nq=7, D=5, Dv=4, backward=True)
    # A mask aligned top left.
    yield make.simple("causal_more_keys", causal, B=2, H=3, G=1, Nq=4, Nk=9, D=3, Dv=5)
    # More heads than a tile has rows, 16: those beyond it forgotten. One query, which is the last.
    yield make.simple("decode", causal, B=2, H=19, G=1, Nq=1, Nk=21, D=6, Dv=5)
    # exp without the maximum subtracted: scores in the hundreds overflow float32.
    yield make.times_16("large_logits", {"scale": 1.875}, B=1, H=5, G=1, Nq=4, Nk=9, D=4, Dv=3)
    # A NaN that spreads to rows that do not see its key, or to the other batch; every head sees it.
    yield make.nan_key("causal_nan_key", causal, head=0, key=4, B=2, H=3, G=1, Nq=6, D=4, Dv=3)
    # A cache with room for H heads, of which the steps read another than the prefill wrote.
    yield make.simple("prefill_middle", causal | {"prefill": 3}, B=2, H=4, G=1, Nq=7, D=4, Dv=3)
    # The same in pages; the prefill ends inside one, and the last is not full.
    yield make.simple("page_ragged", causal | {"prefill": 6, "page": 4}, B=2, H=4, G=1, Nq=11, D=3, Dv=5)
