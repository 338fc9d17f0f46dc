"""The first sequences of the calibration text, for allocators that run the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evo.errors import ConfigError

from ..data import Batch

if TYPE_CHECKING:
    from ..searches import Mixed


def first(problem: Mixed, sequences: int) -> list[Batch]:
    """Micro-batches that hold the first so many sequences, fewer where there are fewer.

    Raises:
        ConfigError: Not at least one.
    """
    if sequences < 1:
        raise ConfigError(f"sequences must be at least 1, got {sequences}")
    found, left = [], sequences
    for batch in problem.data.batches("calibration"):
        if left > 0:
            mask = None if batch.mask is None else batch.mask[:left]
            found.append(batch if len(batch.ids) <= left else Batch(batch.ids[:left], mask))
            left -= len(batch.ids)
    return found


def tokens_in(batches: list[Batch]) -> int:
    """Real tokens of some micro-batches."""
    return sum(int(b.ids.numel() if b.mask is None else b.mask.sum()) for b in batches)
