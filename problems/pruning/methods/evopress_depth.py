"""EvoPress on depth: which attentions and feed-forwards go (arXiv 2410.14649)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from . import Outcome
from .evopress import EvoPress, Search
from .evopress_files import read_depth, write_depth
from .moves import DepthSwap
from .staged import Rows, distinct, scaled


@dataclass(frozen=True, kw_only=True)
class Depth(EvoPress):
    """Search which attentions and feed-forwards to remove.

    Sparsity counts as in the paper: of L blocks, int(sparsity·L) attentions and as many
    feed-forwards go, whatever their sizes. A preset without generations has k(L - k)/1.5 of them
    for k removed.

    Args:
        drop_entire_block: A feed-forward goes with its attention.
        initial: Random candidates, the best of which is the first parent.
        initial_tokens: On how many tokens they are judged.
    """

    preset: str = "depth"
    drop_entire_block: bool = False
    initial: int = 64
    initial_tokens: int = 2048

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Choose; see :class:`.Method`.

        Raises:
            ConfigError: Nothing would go, a setting is out of range, or ``start`` does not fit.
        """
        removed, blocks = self._removed(problem, sparsity), len(problem.pretrained.blocks)
        schedule = self.schedule(int(removed * (blocks - removed) / 1.5))
        if self.initial < 1 or self.initial_tokens < 2:
            raise ConfigError(
                f"initial must be at least 1 and initial_tokens 2, got {self.initial} and "
                f"{self.initial_tokens}"
            )
        own = problem.again(["removal"], sites="submodule")
        kinds = np.array(own.table.kind)
        halves = np.flatnonzero(kinds == "attention"), np.flatnonzero(kinds == "feed_forward")
        swap = DepthSwap(halves, self.drop_entire_block)
        search = Search.of(self, own, schedule, rng)
        if self.start is not None:
            parent = self._started(halves, removed)
        else:
            parent = self._best_random(search, swap, removed)
        if removed < blocks:
            parent = search.run(parent, swap, banned=True)
        if self.result is not None:
            write_depth(Path(self.result), parent[halves[0]], parent[halves[1]])
        return search.outcome(own, parent)

    def _removed(self, problem: Mixed, sparsity: float) -> int:
        blocks = len(problem.pretrained.blocks)
        if not 0 < sparsity < 1:
            raise ConfigError(f"sparsity must lie between 0 and 1, got {sparsity!r}")
        removed = int(sparsity * blocks + 1e-9)  # 0.29 of 100 is 29 whatever its binary fraction
        if removed < 1:
            raise ConfigError(
                f"sparsity {sparsity:g} of {blocks} blocks is less than one attention and one "
                "feed-forward",
                hint=f"ask for {1 / blocks:g} or more",
            )
        return removed

    def _best_random(self, search: Search, swap: DepthSwap, removed: int) -> Rows:
        nothing = np.zeros((0, sum(map(len, swap.halves))), dtype=np.int16)
        states = distinct(lambda: swap.random(removed, search.rng), self.initial, nothing)
        tokens = search.clamped(scaled(self.initial_tokens, self.scale, 2))
        return search.selection.best(states, tokens, 1)[0]

    def _started(self, halves: tuple[Any, Any], removed: int) -> Rows:
        file = Path(str(self.start))
        genome = np.zeros(sum(map(len, halves)), dtype=np.int16)
        for half, column in zip(halves, read_depth(file, len(halves[0])), strict=True):
            genome[half] = column
            if column.sum() != removed:
                raise ConfigError(
                    f"{file} removes {column.sum()} of {len(half)} attentions or feed-forwards, "
                    f"but the sparsity asks for {removed} of each"
                )
        return genome
