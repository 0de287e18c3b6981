"""What one golden case is made of, and where its random numbers come from."""
import typing
import zlib

import numpy as np


class Case(typing.NamedTuple):
    name: str                          # the folder's name
    params: dict                       # as in case.json
    inputs: dict[str, np.ndarray]      # name.npy
    expected: dict[str, np.ndarray]    # expected/name.npy
    origin: str                        # what computed `expected`; generate.py adds the versions and the seed


def seed_of(mechanism: str, name: str) -> int:
    """Each case has a seed of its own, so that a new case leaves the others as they are."""
    return zlib.crc32(f"{mechanism}/{name}".encode())


def random(mechanism: str, name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed_of(mechanism, name)))
