"""DSnoT: a scorer's mask, refined by what inputs are on average, with as many zeros in each row.

Zhang et al., arXiv 2310.08915; :mod:`..importance.dsnot` refines. Masks of two levels are not
nested, so each is made when it is asked for; the means and variances that they need are learnt
once for all levels and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from evo.errors import ConfigError

from ..calibration import Calibration
from ..grams import input_groups, require_finite
from ..importance import SCORERS, find, gone_from, n_of_m, require_multiples, row_zeros
from ..importance.dsnot import Rule, refined
from ..importance.wanda import wanda
from ..layouts import get, matrix
from ..library import Library
from ..models import Block
from ..sites import Place, Variant
from .sparsity import masked

SKIPS = ("feed_forward", "attention", "none")


@dataclass(frozen=True)
class InputStatistics:
    """Learns mean and variance of every input of every linear layer."""

    version: int = 1

    def fit(self, calibration: Calibration) -> dict[str, torch.Tensor]:
        """μ, the sum over tokens, mean over sequences; and the variance within sequences.

        The variance is the mean over all tokens of the squared distance to the mean of their
        sequence. Padding takes no part.

        Returns:
            ``<name>.mean`` and ``<name>.variance``, float64, (d_in,), with :func:`name_of`.

        Raises:
            ModelError: An input is not finite.
        """
        blocks = calibration.blocks
        sums: dict[str, list[torch.Tensor]] = {}
        for batch in calibration.batches:

            def see(
                block: Block, path: str, x: torch.Tensor, n: int, mask: Any = batch.mask
            ) -> None:
                name = name_of(block, path)
                if name == f"{block.index}.{path}":
                    before = sums.get(name, [torch.zeros((), device=x.device)] * 3)
                    own = _sums(x.unflatten(0, (n, -1)), mask)
                    sums[name] = [a + b for a, b in zip(before, own, strict=True)]

            replace(calibration, batches=[batch]).listen(see)
        sequences = sum(len(batch.ids) for batch in calibration.batches)
        found = {}
        for block in blocks:
            for first, *_ in input_groups(block.layout):
                name = f"{block.index}.{first}"
                total, squares, tokens = (t.cpu() for t in sums[name])
                require_finite(squares, block, first)
                found[f"{name}.mean"] = total / sequences
                found[f"{name}.variance"] = squares / tokens
        return found


def name_of(block: Block, path: str) -> str:
    """Under which name the inputs of a layer are kept; layers that share an input share it."""
    (group,) = (g for g in input_groups(block.layout) if path in g)
    return f"{block.index}.{group[0]}"


def _sums(x: torch.Tensor, mask: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Σ x and Σ (x - mean of its sequence)², (d_in,), and the number of tokens.

    Args:
        x: (B, T, d_in), zero at padding.
        mask: (B, T), or None without padding.
    """
    real = x.new_ones(x.shape[:2]) if mask is None else mask.to(x)
    totals, tokens = x.sum(1), real.sum(1)
    means = totals / tokens.clamp(min=1)[:, None]
    away = (x - means[:, None]) * real[..., None]
    return totals.sum(0), away.square().sum((0, 1)), tokens.sum()


@dataclass(frozen=True)
class DSnoT:
    """Levels are shares of weights set to zero in each row of each linear layer.

    Args:
        initial: The scorer of the first mask, one that goes row by row; any where ``pattern`` is.
        cycles: Most exchanges of a row.
        threshold: A row stops once its expected error is no larger, in units of the output summed
            over the tokens of a sequence.
        power: Of the variance by which what a weight adds is divided.
        same_sign: Whether a row stops before its error changes sign; always so under n:m.
        skip: Which layers keep the first mask: ``feed_forward`` as published, ``attention`` or
            ``none``.
        pattern: n and m, set by names such as ``2:4@dsnot``; else empty.
    """

    name: str = "dsnot"
    levels: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    scorer: str | None = None
    initial: str = "wanda"
    cycles: int = 50
    threshold: float = 0.1
    power: float = 1.0
    same_sign: bool = False
    skip: str = "feed_forward"
    pattern: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._require_scorer()
        for key in ("cycles", "threshold", "power"):
            value = getattr(self, key)
            if not 0 <= value < np.inf:
                raise ConfigError(f"{key} of variant {self.name!r} must be at least 0, got {value}")
        if self.skip not in SKIPS:
            raise ConfigError(
                f"skip of variant {self.name!r} must be one of {', '.join(SKIPS)}, "
                f"got {self.skip!r}"
            )

    def _require_scorer(self) -> None:
        try:
            rule = find(self.initial).rule
        except ConfigError as error:
            raise ConfigError(f"initial of variant {self.name!r}: {error.message}") from error
        if rule != "row" and not self.pattern:
            known = ", ".join(name for name, one in SCORERS.items() if one.rule == "row")
            raise ConfigError(
                f"initial of variant {self.name!r} is {self.initial!r}, which compares whole "
                "matrices; expected a scorer that goes row by row",
                hint=f"known: {known}",
            )

    @property
    def by(self) -> str:
        """The scorer of the first mask."""
        return self.initial

    @property
    def learner(self) -> InputStatistics:
        """What learns from the text, shared by all settings."""
        return InputStatistics()

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per level, or the one of the pattern; every place has linear layers.

        Raises:
            ConfigError: m does not divide the inputs of a layer.
        """
        if not self.pattern:
            return [self._at(place, library, level) for level in levels]
        n, m = self.pattern
        for path, (_, inputs) in place.shapes().items():
            require_multiples(self.name, m, inputs, place.block, path)
        zeros = place.weight_count() * n // m

        def gone(path: str) -> torch.Tensor:
            scores = library.scores(self.initial, place.block, path)
            return self._refined(place.block, path, library, n_of_m(scores, n, m), scores)

        return [masked(place, self.name, "n:m", zeros, gone)]

    def _at(self, place: Place, library: Library, level: float) -> Variant:
        counts = find(self.initial).counts
        zeros = sum(
            row_zeros(into, np.full(out, level), counts) for out, into in place.shapes().values()
        )

        def gone(path: str) -> torch.Tensor:
            scores = library.scores(self.initial, place.block, path)
            first = gone_from(scores, "row", [level], counts) == 0
            weight = matrix(get(place.block.module, path)).detach()
            order = wanda(weight, library.norms(place.block, path))
            return self._refined(place.block, path, library, first, order)

        return masked(place, f"{self.name}-{level:g}", self.name, zeros, gone)

    def _refined(
        self, block: Block, path: str, library: Library, gone: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        """The first mask, or where the layer is not skipped the refined one."""
        feeds = path in block.layout.feed_forward_linears
        if self.skip == ("feed_forward" if feeds else "attention"):
            return gone
        weight = matrix(get(block.module, path)).detach()
        learnt, name = library.fitted(self), name_of(block, path)
        given = (gone, learnt[f"{name}.mean"], learnt[f"{name}.variance"], scores)
        first, mean, variance, order = (t.to(weight.device) for t in given)
        rule = Rule(self.cycles, self.threshold, self.power, self.same_sign)
        group = self.pattern[1] if self.pattern else None
        return refined(weight, first, mean, variance, order, rule, group)[0]


DSNOT = DSnoT()
