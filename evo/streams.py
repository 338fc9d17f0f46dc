"""Named random streams: the same name gives the same numbers, whatever ran before."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str | int | bytes) -> np.random.Generator:
    """A generator that depends on the root seed and on the names only.

    Args:
        seed: Root seed of the run, 0 or larger.
        *names: What the numbers are for, e.g. ``("variation", generation)``.

    Example:
        >>> bool(stream(0, "sample").random() == stream(0, "sample").random())
        True
    """
    return np.random.default_rng(derive(seed, *names))


def derive(seed: int, *names: str | int | bytes) -> int:
    """A 64-bit seed for libraries that want an integer, derived like :func:`stream`."""
    text = b"\x1f".join(n if isinstance(n, bytes) else str(n).encode() for n in names)
    digest = hashlib.blake2b(text, digest_size=8, key=str(int(seed)).encode()).digest()
    return int.from_bytes(digest, "little")
