"""SubFit (arXiv 2606.02559): submodules give way to fitted linear bypasses of the residual stream.

The paper's formulas were not available: score, ranks, ridge, basis and what the bypass reads are a
reconstruction from its abstract and summaries, and each is a setting. An attention is replaced by
a map of low rank, a feed-forward by one of higher rank; see :mod:`problems.pruning.fitting.linear`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from evo.errors import ConfigError

from .. import bypass
from ..calibration import Calibration
from ..fitting.flow import Flow, Part, Recorder, walk
from ..fitting.linear import common_basis
from ..fitting.moments import Moments
from ..library import Library
from ..models import Block
from ..sites import Place, Variant
from .fitted import Map, in_common, projected, rank_of, solved, variant

KINDS = ("attention", "feed_forward", "block")


@dataclass(frozen=True)
class SubFit:
    """Levels are ranks as shares of the model's width.

    Args:
        name: What people call it.
        levels: Ranks of feed-forwards and blocks, as shares of the width.
        scorer: None; nothing is scored.
        attention: Rank of an attention as a share of a feed-forward's.
        ridge: λ as a share of the mean diagonal of the regressors' second moments.
        skip: Leading tokens of each sequence that the fit leaves out.
        intercept: Whether a bypass adds a constant.
        regressor: ``residual``, or ``norm`` to read what the submodule read; its norm then stays.
        basis: ``own``, or ``shared`` for feed-forwards that all read the residual through the same
            principal directions, of which a model keeps one copy.
    """

    name: str = "subfit"
    levels: tuple[float, ...] = (0.0625, 0.25)
    scorer: str | None = None
    attention: float = 0.25
    ridge: float = 1e-3
    skip: int = 0
    intercept: bool = True
    regressor: str = "residual"
    basis: str = "own"

    def __post_init__(self) -> None:
        if self.regressor not in ("residual", "norm"):
            raise ConfigError(f"regressor must be 'residual' or 'norm', got {self.regressor!r}")
        if self.basis not in ("own", "shared"):
            raise ConfigError(f"basis must be 'own' or 'shared', got {self.basis!r}")
        if not 0 < self.attention <= 1 or self.ridge < 0 or self.skip < 0:
            raise ConfigError(
                "subfit needs 0 < attention <= 1, ridge >= 0 and skip >= 0, got "
                f"attention={self.attention:g}, ridge={self.ridge:g}, skip={self.skip}"
            )

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the fitted tensors depend on."""
        return {
            "ridge": self.ridge, "skip": self.skip,
            "intercept": self.intercept, "regressor": self.regressor, "basis": self.basis,
        }  # fmt: skip

    @property
    def normalised(self) -> bool:
        """Whether a bypass reads the output of the submodule's norm."""
        return self.regressor == "norm"

    # -- fitting -----------------------------------------------------------------------------------

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """Factors of all ranks and the effect of each submodule, one block after the other.

        Yields:
            By ``<kind>.<block>.`` and a name: ``first`` and ``second``, (d, d), whose first r rows
            make the map of rank r; ``x`` and ``u``, (d,), means for the intercept; and
            ``rotation`` and ``magnitude`` of the submodules, without axes. With a shared basis,
            it is ``basis``, (d, d), and feed-forwards have ``inner`` and ``target`` instead.
        """
        basis = self._directions(calibration) if self.basis == "shared" else None
        if basis is not None:
            yield {"basis": basis.float()}
        for block, flows in walk(calibration, self.skip):
            yield self._fitted(block, flows, basis)

    def _directions(self, calibration: Calibration) -> torch.Tensor:
        """Principal directions of what all feed-forwards of the dense model read, (d, d)."""
        everywhere = replace(calibration, pretrained=calibration.dense, blocks=())
        found = []
        for block, flows in walk(everywhere, self.skip):
            sums: dict[str, Moments] = {}
            for flow in flows:
                x, u = self.streams(block, "feed_forward", flow)
                _sums(sums, "x", x, u[:, :1]).add(x, u[:, :1])
            found.append((sums["x"].centred() if self.intercept else sums["x"]).xx)
        return common_basis(found)

    def _fitted(
        self, block: Block, flows: Iterator[Flow], basis: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        sums: dict[str, Moments] = {}
        effects = {kind: Effect() for kind in KINDS[:2]}
        for flow in flows:
            for kind in KINDS:
                x, u = self.streams(block, kind, flow)
                _sums(sums, kind, x, u).add(x, u)
            for kind, effect in effects.items():
                effect.add(getattr(flow, kind))
        found: dict[str, torch.Tensor] = {}
        for kind, moments in sums.items():
            if kind == "feed_forward" and basis is not None:
                made = projected(moments, basis, intercept=self.intercept)
            else:
                made = solved(moments, self.ridge, intercept=self.intercept)
            found |= {f"{kind}.{block.index}.{k}": v for k, v in made.items()}
        for kind, effect in effects.items():
            found |= {f"{kind}.{block.index}.{k}": v for k, v in effect.means().items()}
        return found

    def streams(self, block: Block, kind: str, flow: Flow) -> tuple[torch.Tensor, torch.Tensor]:
        """What a bypass of a submodule or a block reads, and what it should add; both (t, d)."""
        if kind != "block":
            part: Part = getattr(flow, kind)
            return (part.entering if self.normalised else part.residual), part.update
        if block.layout.attention_norms and not self.normalised:
            return flow.before, flow.after - flow.before
        recorder = Recorder()
        instead = bypass.replacements(block, kind, recorder, normalised=self.normalised)
        x = flow.entering(instead, recorder)
        if block.layout.attention_norms:
            return x, flow.after - flow.before
        second = flow.feed_forward  # norms after the sums stay, so the last sum is what to reach
        return x, second.residual + second.update - x

    # -- choices -----------------------------------------------------------------------------------

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct rank at attentions, feed-forwards and blocks."""
        if place.kind not in KINDS:
            return []
        known, prefix = library.fitted(self), f"{place.kind}.{place.block.index}."
        fitted = {k.removeprefix(prefix): t for k, t in known.items() if k.startswith(prefix)}
        width = len(fitted["x"])
        found: dict[int, Variant] = {}
        for level in levels:
            share = level * self.attention if place.kind == "attention" else level
            # a basis in common is worth its factors at any rank
            rank = max(1, round(share * width)) if "inner" in fitted else rank_of(share, width)
            if rank not in found:
                name = f"{self.name}-{level:g}"
                found[rank] = self._variant(place, fitted, known.get("basis"), name, rank)
        return list(found.values())

    def _variant(
        self, place: Place, fitted: Map, basis: torch.Tensor | None, name: str, rank: int
    ) -> Variant:
        said = {"intercept": self.intercept, "normalised": self.normalised}
        if basis is None or "inner" not in fitted:
            return variant(place, fitted, name, "subfit", rank, **said)
        return in_common(
            place, fitted, basis, name, "subfit", rank, self.ridge, common=self.name, **said
        )


@dataclass
class Effect:
    """Running means of what a submodule does to the residual sum."""

    rotation: float = 0.0
    magnitude: float = 0.0
    count: int = 0

    def add(self, part: Part) -> None:
        """Take t more tokens into account."""
        after = part.residual + part.update
        cosine = torch.nn.functional.cosine_similarity(part.residual, after, dim=1)
        sizes = part.update.norm(dim=1) / part.residual.norm(dim=1).clamp_min(1e-12)
        self.rotation += float((1 - cosine).sum())
        self.magnitude += float(sizes.sum())
        self.count += len(after)

    def means(self) -> dict[str, torch.Tensor]:
        """Mean over tokens of 1 - cos(x, x + u), and of ‖u‖/‖x‖."""
        count = max(1, self.count)
        means = {"rotation": self.rotation / count, "magnitude": self.magnitude / count}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in means.items()}


def _sums(sums: dict[str, Moments], kind: str, x: torch.Tensor, u: torch.Tensor) -> Moments:
    if kind not in sums:
        sums[kind] = Moments.zero(x.shape[1], u.shape[1], x.device)
    return sums[kind]


SUBFIT = SubFit()
