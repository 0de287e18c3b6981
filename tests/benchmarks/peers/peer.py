"""What the two peers share: the problem, the check, the line of JSON."""
import argparse
import json
import math
import platform
import sys
import time

import numpy as np

largest_relative_error = 1e-5


def reference(q, k, v):
    """softmax(Q Kᵀ / √D) V in float64, without tiles."""
    q, k, v = (t.astype(np.float64) for t in (q, k, v))     # [N,D]
    scores = q @ k.T / math.sqrt(q.shape[1])                # [N,N]
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ v / weights.sum(axis=1, keepdims=True)  # [N,D]


def cpu():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(name, version, attention, description):
    """Times attention(q, k, v, out, tile) and prints a line of JSON; exit status 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=512, help="number of queries and of keys (512)")
    parser.add_argument("--d", type=int, default=64, help="dimension of the head, a power of two from 16 (64)")
    parser.add_argument("--tile", type=int, default=64, help="keys of one tile, a power of two from 16 (64)")
    parser.add_argument("--launches", type=int, default=1, help="in this process; the shortest counts (1)")
    arguments = parser.parse_args()
    n, d, tile = arguments.n, arguments.d, arguments.tile
    if n < 1 or arguments.launches < 1 or any(size < 16 or size & (size - 1) for size in (d, tile)):
        parser.error("--n and --launches must be positive, --d and --tile powers of two from 16")

    q, k, v = np.random.default_rng(0).standard_normal((3, n, d), dtype=np.float32)
    expected = reference(q, k, v)
    seconds, relative_error = math.inf, 0.0
    for _ in range(arguments.launches):
        out = np.full((n, d), np.nan, dtype=np.float32)
        start = time.perf_counter()
        attention(q, k, v, out, tile)
        seconds = min(seconds, time.perf_counter() - start)
        relative_error = float(np.abs(out - expected).max() / np.abs(expected).max())
        if not relative_error <= largest_relative_error:  # catches NaN, too
            sys.exit(f"{name}: wrong result, relative error {relative_error:.1e}, allowed {largest_relative_error:.0e}")
    print(json.dumps({"peer": name, "version": version, "n": n, "d": d, "tile": tile, "seconds": round(seconds, 4),
                      "relative_error": float(f"{relative_error:.1e}"), "python": platform.python_version(),
                      "cpu": cpu()}))
