"""Hidden states kept from one sweep to the next, so that children start at their first change."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch


class States:
    """Hidden states kept from call to call on a ladder of depths, least recently used first to go.

    Args:
        budget: Bytes to keep; 0 keeps nothing.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self.stride: int | None = None
        self._kept: OrderedDict[Any, torch.Tensor] = OrderedDict()

    def plan(self, size: int, depth: int) -> None:
        """Choose the rungs so that two generations fit: every block, or every k-th.

        Args:
            size: Bytes of the states of one generation at one depth.
            depth: Number of blocks.
        """
        fits = self.budget // max(1, 2 * size)
        self.stride = None if fits < 1 else max(1, -(-(depth - 1) // fits))

    def rung_after(self, depth: int, total: int) -> int | None:
        """The next depth whose states are kept, or None; the last one is never asked for."""
        if self.stride is None:
            return None
        rung = (depth // self.stride + 1) * self.stride
        return rung if rung < total else None

    def get(self, key: Any) -> torch.Tensor | None:
        """A kept state, now the most recently used."""
        state = self._kept.get(key)
        if state is not None:
            self._kept.move_to_end(key)
        return state

    def put(self, key: Any, state: torch.Tensor) -> None:
        """Keep a state, dropping older ones beyond the budget."""
        if key in self._kept:
            return
        self._kept[key] = state
        self.used += state.numel() * state.element_size()
        while self.used > self.budget and self._kept:
            _, old = self._kept.popitem(last=False)
            self.used -= old.numel() * old.element_size()
