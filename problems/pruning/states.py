"""Hidden states kept from one sweep to the next, so that children start at their first change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch


class States:
    """Hidden states kept from call to call on a ladder of depths, least recently used first to go.

    Args:
        budget: Bytes to keep; 0 keeps nothing.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self.stride = 1
        self._within: set[int] = set()  # micro-batches whose states are kept
        self._kept: OrderedDict[Any, torch.Tensor] = OrderedDict()

    def plan(self, counts: Sequence[int], sizes: Mapping[int, int]) -> None:
        """Choose rungs and micro-batches so that two generations like this one fit.

        Rungs are every block or every k-th, up to half the depth; where those are too many, the
        states of the first micro-batches only are kept.

        Args:
            counts: Distinct states after each block but the last.
            sizes: Micro-batch → bytes of one state of it, in the order of judgement.
        """
        coarsest, whole = (len(counts) + 2) // 2, sum(sizes.values())
        each = [2 * sum(counts[k - 1 :: k]) for k in range(1, coarsest + 1)]  # states, by stride
        fitting = [k for k, states in enumerate(each, 1) if states * whole <= self.budget]
        self.stride = min(fitting, default=coarsest)
        self._within, room = set(), self.budget
        for batch, size in sizes.items():
            room -= each[self.stride - 1] * size
            if room < 0:
                break
            self._within.add(batch)

    def rung_after(self, depth: int, total: int, batch: int) -> int | None:
        """The next depth whose states are kept, or None; the last one is never asked for."""
        rung = (depth // self.stride + 1) * self.stride
        return rung if rung < total and batch in self._within else None

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
