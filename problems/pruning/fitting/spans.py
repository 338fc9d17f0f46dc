"""How little a run of neighbouring blocks changes the hidden states: two published distances."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from evo.errors import ConfigError

from ..calibration import Calibration
from .flow import passages

Distance = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(states before, states after, whether a row ends its sequence), (t, d), (t, d), (t,) → values."""


def angular(before: torch.Tensor, after: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """arccos(cos)/π at the last token of each sequence (Gromov et al., arXiv 2403.17887)."""
    cosine = torch.nn.functional.cosine_similarity(before[last], after[last], dim=1)
    return cosine.clamp(-1, 1).arccos() / math.pi


def dissimilarity(before: torch.Tensor, after: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """1 - (1 + cos)/2 at every token, as LLM-Streamline (ICLR 2025) compares states."""
    return (1 - torch.nn.functional.cosine_similarity(before, after, dim=1)) / 2


def distances(
    calibration: Calibration, length: int, distance: Distance, skip: int = 0
) -> torch.Tensor:
    """Mean distance over calibration text between the states before and after each window.

    Args:
        calibration: The model and its text.
        length: Blocks in a window.
        distance: Of states before and after.
        skip: Leading tokens of each sequence that are left out.

    Returns:
        One value per first block of a window, (blocks - length + 1,), float64.
    """
    total, count = torch.zeros(0, dtype=torch.float64), 0
    for passage in passages(calibration, skip=skip):
        states = [state.double() for state in passage.states]
        values = torch.stack(
            [distance(a, b, passage.last) for a, b in zip(states, states[length:], strict=False)]
        )  # (windows, tokens)
        total = values.sum(1).cpu() + (total if count else 0)
        count += values.shape[1]
    return total / max(1, count)


def length_of(share: float, blocks: int, name: str) -> int:
    """Blocks in a window that is a share of all, rounded.

    Raises:
        ConfigError: No block, or no block beside the window, would be left.
    """
    length = int(share * blocks + 0.5)
    if not 1 <= length < blocks:
        raise ConfigError(
            f"{name} takes a window of {share:g} of {blocks} blocks, which is {length}; expected "
            f"between 1 and {blocks - 1}",
            hint=f"choose a share between {0.5 / blocks:.3g} and {(blocks - 1) / blocks:.3g}",
        )
    return length
