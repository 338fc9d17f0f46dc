"""n genomes as named arrays, one row per candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class Genomes:
    """A struct of arrays: every part holds one row per candidate; the arrays never change.

    Args:
        parts: Name → array of shape (n, *part.shape); all parts agree on n.

    Raises:
        ShapeError: Parts disagree on n, or there is no part.
    """

    parts: Mapping[str, NDArray[Any]]
    _keys: list[bytes] | None = field(default=None, init=False, repr=False)  # once asked for

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
        taken = Genomes({name: values[index] for name, values in self.parts.items()})
        if self._keys is not None:
            chosen = np.arange(len(self))[index].tolist()
            taken._remember([self._keys[i] for i in chosen])
        return taken

    def rows(self) -> list[bytes]:
        """The exact bytes of each row, parts in order; equal bytes mean equal genomes."""
        return [row.tobytes() for row in self._bytes()]

    def keys(self) -> list[bytes]:
        """One 16-byte content hash per row; worked out once, and known to whoever takes rows."""
        if self._keys is None:
            self._remember([hashlib.blake2b(r, digest_size=16).digest() for r in self._bytes()])
        assert self._keys is not None
        return list(self._keys)

    @staticmethod
    def concat(*many: Genomes) -> Genomes:
        """Rows of all arguments, one after the other; parts must agree.

        Raises:
            ShapeError: No argument, or different parts.
        """
        if not many or any(tuple(g.parts) != tuple(many[0].parts) for g in many):
            raise ShapeError("only genomes with the same parts, in the same order, can be joined")
        if len(many) == 1:
            return many[0]
        whole = Genomes({name: np.concatenate([g[name] for g in many]) for name in many[0].parts})
        if all(g._keys is not None or len(g) == 0 for g in many):
            whole._remember([key for g in many for key in g._keys or ()])
        return whole

    def _bytes(self) -> NDArray[np.uint8]:
        """All parts side by side, shape (n, bytes of a row)."""
        flat = [
            np.frombuffer(np.ascontiguousarray(values), np.uint8).reshape(len(self), -1)
            for values in (self.parts.values() if len(self) else ())
        ]
        if len(flat) == 1:
            return flat[0]
        return np.concatenate(flat, axis=1) if flat else np.zeros((0, 0), np.uint8)

    def _remember(self, keys: list[bytes]) -> None:
        object.__setattr__(self, "_keys", keys)
