"""Results on a part of the data, brought to the scale of those on all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..problem import Array
from .guard import FAILED

TELLING = 3  # candidates judged on both from which a scale is told


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Results, on all data or on a part of it.

    Args:
        flat: Genes, shape (n, d).
        values: Fitness and, last, violation, shape (n, m + 1).
        part: Which were judged on a part of the data, shape (n,).
        again: Which of those were judged on all data as well, shape (n,).
    """

    flat: Array
    values: Array
    part: NDArray[np.bool_]
    again: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """What k genomes were found to be on a part of the data.

    Args:
        keys: Of the genomes.
        flat: Their genes, shape (k, d).
        values: Fitness and, last, violation, shape (k, m + 1), finite.
    """

    keys: list[bytes]
    flat: Array
    values: Array

    def beside(self, known: Mapping[bytes, int], flat: Array, values: Array) -> Told:
        """What was judged on all data, then what was judged on the part.

        Args:
            known: Key of a genome → its row in what was judged on all data; later rows count as
                unknown.
            flat: Genes of that, shape (n, d).
            values: Fitness and violation of that, shape (n, m + 1).
        """
        n = len(flat)
        rows = np.array([known.get(key, n) for key in self.keys], dtype=np.intp)
        both = np.flatnonzero(rows < n)
        both = both[values[rows[both], -1] < FAILED]
        scaled = on_scale(self.values, self.values[both], values[rows[both]])
        part = np.arange(n + len(rows)) >= n
        return Told(
            np.concatenate([flat, self.flat]), np.concatenate([values, scaled]),
            part, np.concatenate([part[:n], rows < n]),
        )  # fmt: skip


def on_scale(values: Array, part: Array, whole: Array) -> Array:
    """Values on a part of the data as they would be on all of it, column by column.

    Args:
        values: Shape (k, c).
        part: Some of them, shape (b, c).
        whole: What the same candidates are on all data, shape (b, c).

    Returns:
        ``values`` times the median ratio of whole to part where all of both have one sign, plus
        the median difference elsewhere; as they are where fewer than :data:`TELLING` rows tell.
    """
    if len(part) < TELLING:
        return values
    one_sign = (part * whole > 0).all(axis=0)
    ratio = np.median(whole / np.where(one_sign, part, 1.0), axis=0)
    shift = np.median(whole - part, axis=0)
    return np.where(one_sign, values * ratio, values + shift)
