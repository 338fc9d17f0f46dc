"""Equal steps: levels of linear layers that differ by one number of zeros, whatever their sizes.

EvoPress's level database (Sieberling et al., arXiv 2410.14649, and the authors' code): level l of a
layer with n weights has s·n + l·D zeros, so one layer may go a step up and another a step down
without changing the total. Here the counts are whole numbers and are met exactly; the published
database rounds a share in each block of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from evo.errors import ConfigError

from .. import updates
from ..calibration import Calibration
from ..importance import find, gone_by_count
from ..importance.sparsegpt import COLUMNS, DAMPING, Count, prune
from ..layouts import get, matrix, with_weight
from ..library import Library
from ..models import Block
from ..sites import Place, Replacements, Variant

REACH = 8


@dataclass(frozen=True)
class Steps:
    """The levels that a layer has, from its number of weights.

    Args:
        target: Share of zeros at level 0, in (0, 1).
        size: Zeros from one level to the next, at least 1.
        reach: Most levels on either side of 0.

    Raises:
        ConfigError: A number is out of range.
    """

    target: float
    size: int
    reach: int = REACH

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ConfigError(f"sparsity must lie between 0 and 1, got {self.target!r}")
        if not all(isinstance(n, int) and n >= 1 for n in (self.size, self.reach)):
            raise ConfigError(
                "steps must be whole numbers, at least 1 weight and 1 level, got "
                f"{self.size!r} and {self.reach!r}"
            )

    def bounds(self, weights: int) -> tuple[int, int]:
        """Lowest (densest) and highest level of a layer."""
        at_target = self._at_target(weights)
        low, high = at_target // self.size, (weights - at_target) // self.size
        return -min(low, self.reach), min(high, self.reach)

    def zeros(self, weights: int, level: int) -> int:
        """Zeros of a layer at a level."""
        return self._at_target(weights) + level * self.size

    def levels(self, weights: int) -> list[int]:
        """Levels of a layer that have zeros, ascending; one without zeros is the dense layer."""
        low, high = self.bounds(weights)
        return [level for level in range(low, high + 1) if self.zeros(weights, level)]

    def origin(self, weights: int) -> int:
        """Index of level 0 among a site's variants, of which the dense one is the first."""
        low, _ = self.bounds(weights)
        return -low + bool(self.zeros(weights, low))

    def _at_target(self, weights: int) -> int:
        return round(self.target * weights)


@dataclass(frozen=True)
class SparseGPTSteps:
    """Equal steps with the weights that SparseGPT updates, each layer given its dense inputs."""

    steps: Steps
    name: str = "sparsegpt-steps"
    levels: tuple[float, ...] = ()
    scorer: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What the fitted weights depend on."""
        steps = [self.steps.target, self.steps.size, self.steps.reach]
        return {"steps": steps, "damping": DAMPING, "columns": COLUMNS}

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """Every level that every layer has, block by block; Hessians are made once per layer."""
        layers = updates.factored(calibration.pretrained, calibration.batches, calibration.blocks)
        for _, own in groupby(layers, key=lambda found: found[0].index):
            yield {name: weight for layer in own for name, weight in self._layer(*layer)}

    def _layer(
        self, block: Block, path: str, upper: torch.Tensor, dead: torch.Tensor
    ) -> Iterator[tuple[str, torch.Tensor]]:
        weight = matrix(get(block.module, path)).detach()
        for level in self.steps.levels(weight.numel()):
            count = Count(self.steps.zeros(weight.numel(), level))
            changed = prune(weight, upper, dead, count)
            yield _name(block, path, level), changed.cpu().contiguous()

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per level at single linear layers; nothing elsewhere."""

        def weight(path: str, level: int) -> torch.Tensor:
            return library.fitted(self)[_name(place.block, path, level)]

        return _variants(self.name, self.steps, place, weight)


@dataclass(frozen=True)
class MaskSteps:
    """Equal steps with the lowest scores of a layer set to zero.

    Args:
        by: A scorer. One that compares within rows takes equally many of each row, within one;
            the others compare the whole layer.
        steps: The levels.
    """

    by: str
    steps: Steps
    name: str = "mask-steps"
    levels: tuple[float, ...] = ()
    scorer: str | None = None

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per level at single linear layers; nothing elsewhere."""
        rule = find(self.by).rule

        def weight(path: str, level: int) -> torch.Tensor:
            dense = matrix(get(place.block.module, path)).detach()
            zeros = self.steps.zeros(dense.numel(), level)
            gone = lowest(library.scores(self.by, place.block, path), rule, zeros)
            return dense.masked_fill(gone.to(dense.device), 0)

        return _variants(self.name, self.steps, place, weight)


def lowest(scores: torch.Tensor, rule: str, zeros: int) -> torch.Tensor:
    """Exactly so many of the lowest scores.

    Args:
        scores: (d_out, d_in).
        rule: ``row`` takes equally many of each row, within one; others of the whole matrix.
        zeros: How many.

    Returns:
        bool, (d_out, d_in).
    """
    if rule != "row":
        return gone_by_count(scores, [zeros]).eq(0)
    rank = torch.argsort(torch.argsort(scores, dim=1, stable=True), dim=1)
    ends = torch.arange(len(scores) + 1, device=scores.device) * zeros // len(scores)
    return rank < ends.diff()[:, None]


def _name(block: Block, path: str, level: int) -> str:
    return f"{block.index}.{path}.{level:+d}"


def _variants(
    name: str, steps: Steps, place: Place, weight: Callable[[str, int], torch.Tensor]
) -> list[Variant]:
    if place.kind != "linear":
        return []
    (path,), count = place.linears, place.weight_count()
    layer = get(place.block.module, path)

    def variant(level: int) -> Variant:
        def build() -> Replacements:
            made = weight(path, level).to(matrix(layer).device)
            return {path: with_weight(layer, made, None)}

        zeros = steps.zeros(count, level)
        cost = place.cost(zeros=zeros)
        return Variant(f"{name}{level:+d}", name, cost, build, {}, zeros / count)

    return [variant(level) for level in steps.levels(count)]
