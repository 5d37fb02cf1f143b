"""Random numbers as a pure function of their place: the counter-based generator Philox2x32-10, in NumPy.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A number depends on (key, counter, index) and on
nothing else, so results do not depend on threads, on the order of work or on an interruption.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MULTIPLIER = 0xD256D193
WEYL = 0x9E3779B9
ROUNDS = 10

Words = npt.NDArray[np.uint32]


def philox2x32(index: npt.ArrayLike, counter: npt.ArrayLike, key: npt.ArrayLike) -> Words:
    """The first output word of Philox2x32-10 for the counter words (index, counter) and the key word.

    The arguments are taken modulo 2^32 and broadcast against each other.
    """
    low, high, weyl = (np.asarray(a).astype(np.uint32) for a in np.broadcast_arrays(index, counter, key))
    for _ in range(ROUNDS):
        product = low.astype(np.uint64) * np.uint64(MULTIPLIER)
        low, high = (product >> np.uint64(32)).astype(np.uint32) ^ weyl ^ high, product.astype(np.uint32)
        weyl = (weyl.astype(np.uint64) + np.uint64(WEYL)).astype(np.uint32)
    return low
