"""n genomes as named arrays, one row per candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class Genomes:
    """A struct of arrays: every part holds one row per candidate.

    Args:
        parts: Name → array of shape (n, *part.shape); all parts agree on n.

    Raises:
        ShapeError: Parts disagree on n, or there is no part.
    """

    parts: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(values) for name, values in self.parts.items()}
        lengths = {name: (a.shape[0] if a.ndim else None) for name, a in arrays.items()}
        if not arrays or None in lengths.values() or len(set(lengths.values())) != 1:
            raise ShapeError(f"all parts of a genome need the same number of rows, got {lengths}")
        object.__setattr__(self, "parts", MappingProxyType(arrays))

    def __len__(self) -> int:
        return int(next(iter(self.parts.values())).shape[0])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.parts[name]

    def take(self, rows: slice | NDArray[Any] | Sequence[int]) -> Genomes:
        """The rows asked for, by slice, indices or boolean mask, in that order."""
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(index, np.ndarray) and index.size == 0:
            index = index.astype(np.intp)
        return Genomes({name: values[index] for name, values in self.parts.items()})

    def rows(self) -> list[bytes]:
        """The exact bytes of each row, parts in order; equal bytes mean equal genomes."""
        flat = [np.ascontiguousarray(values) for values in self.parts.values()]
        return [b"".join(part[i].tobytes() for part in flat) for i in range(len(self))]

    def keys(self) -> list[bytes]:
        """One 16-byte content hash per row."""
        flat = [np.ascontiguousarray(values) for values in self.parts.values()]
        keys = []
        for i in range(len(self)):
            key = hashlib.blake2b(digest_size=16)
            for part in flat:
                key.update(part[i])
            keys.append(key.digest())
        return keys

    @staticmethod
    def concat(*many: Genomes) -> Genomes:
        """Rows of all arguments, one after the other; parts must agree.

        Raises:
            ShapeError: No argument, or different parts.
        """
        if not many or any(tuple(g.parts) != tuple(many[0].parts) for g in many):
            raise ShapeError("only genomes with the same parts, in the same order, can be joined")
        return Genomes({name: np.concatenate([g[name] for g in many]) for name in many[0].parts})
