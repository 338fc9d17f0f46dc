"""Which candidates agree on some sites: asked for at every state, answered from memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Members = NDArray[np.intp]
Group = tuple[tuple[int, ...], Members]


class Rows:
    """The distinct genomes of one sweep.

    Micro-batches ask the same questions about the same members, so every answer is kept.

    Args:
        choices: Variant index per site, (n, S).
    """

    def __init__(self, choices: NDArray[Any]) -> None:
        self._choices = np.ascontiguousarray(choices)
        self._known: dict[tuple[bytes, tuple[int, ...]], list[Group]] = {}

    def __len__(self) -> int:
        return len(self._choices)

    @property
    def everyone(self) -> Members:
        """All members, (n,)."""
        return np.arange(len(self))

    def groups(self, members: Members, columns: list[int]) -> list[Group]:
        """Distinct values at some sites with the members that have them, in ascending order."""
        key = (members.tobytes(), tuple(columns))
        if key not in self._known:
            self._known[key] = self._split(members, columns)
        return self._known[key]

    def _split(self, members: Members, columns: list[int]) -> list[Group]:
        found: dict[tuple[int, ...], list[int]] = {}
        for member, values in zip(
            members, self._choices[members][:, columns].tolist(), strict=True
        ):
            found.setdefault(tuple(values), []).append(int(member))
        return [(values, np.array(found[values], dtype=np.intp)) for values in sorted(found)]
