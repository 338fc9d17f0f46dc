"""LLM-Streamline (ICLR 2025, arXiv 2403.19135): one light module stands for a window of blocks.

The paper trains a layer or a small network on the window's output. Here the module is a linear map
of the residual stream in closed form, so that nothing is trained; the window is chosen as in the
paper, by the mean cosine of the states before and after it. The variant stands at the window's
first block and is meant to be chosen with the removal of the others, as the method does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evo.errors import ConfigError

from ..calibration import Calibration
from ..fitting.flow import passages
from ..fitting.moments import Moments
from ..fitting.spans import dissimilarity, distances, length_of
from ..library import Library
from ..sites import Place, Variant
from .fitted import rank_of, solved, variant


@dataclass(frozen=True)
class Streamline:
    """One window: that whose states before and after are most alike.

    Args:
        name: What people call it.
        levels: None.
        scorer: None; nothing is scored.
        share: Share of the blocks in the window.
        rank: Rank of the map as a share of the model's width; None for the whole map.
        ridge: λ as a share of the mean diagonal of the states' second moments.
        skip: Leading tokens of each sequence that the fit leaves out.
        intercept: Whether the module adds a constant.
    """

    name: str = "streamline"
    levels: tuple[float, ...] = ()
    scorer: str | None = None
    share: float = 0.25
    rank: float | None = None
    ridge: float = 1e-3
    skip: int = 0
    intercept: bool = True

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the fitted tensors depend on."""
        return {
            "share": self.share, "ridge": self.ridge, "skip": self.skip, "intercept": self.intercept
        }  # fmt: skip

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """The window and its map.

        Yields:
            ``window`` (first block, length) and by ``<first block>.`` and a name the map from the
            states before the window to what it adds.

        Raises:
            ConfigError: A block normalises the residual sum itself, or the window has no block or
                all.
        """
        blocks = calibration.dense.blocks
        length = length_of(self.share, len(blocks), self.name)
        for block in blocks:
            if not block.layout.attention_norms:
                raise ConfigError(
                    "streamline needs blocks that leave the residual sum as it is; block "
                    f"{block.index} normalises it",
                    hint="choose subfit or removal",
                )
        allowed = [b.index for b in calibration.blocks if b.index + length <= len(blocks)]
        if not allowed:
            return
        start = allowed[0]
        if len(allowed) > 1:
            far = distances(calibration, length, dissimilarity)
            start = min(allowed, key=lambda i: float(far[i]))
        made = solved(self._moments(calibration, start, length), self.ridge,
                      intercept=self.intercept)  # fmt: skip
        named = {f"{start}.{name}": tensor for name, tensor in made.items()}
        yield {"window": torch.tensor([start, length]), **named}

    def _moments(self, calibration: Calibration, start: int, length: int) -> Moments:
        sums: Moments | None = None
        for passage in passages(calibration, skip=self.skip):
            x = passage.states[start].double()
            u = passage.states[start + length].double() - x
            sums = sums or Moments.zero(x.shape[1], u.shape[1], x.device)
            sums.add(x, u)
        assert sums is not None
        return sums

    def window(self, library: Library) -> range:
        """The blocks that the module stands for; it is at the first."""
        start, length = library.fitted(self)["window"].tolist()
        return range(start, start + length)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant at the window's first block; nothing elsewhere."""
        known, prefix = library.fitted(self), f"{place.block.index}."
        if place.kind != "block" or prefix + "first" not in known:
            return []
        fitted = {name: known[prefix + name] for name in ("first", "second", "x", "u")}
        width = len(fitted["x"])
        rank = width if self.rank is None else rank_of(self.rank, width)
        return [
            variant(place, fitted, self.name, "streamline", rank, intercept=self.intercept,
                    normalised=False)
        ]  # fmt: skip


STREAMLINE = Streamline()
