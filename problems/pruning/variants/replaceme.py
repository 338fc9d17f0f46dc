"""ReplaceMe (arXiv 2505.02819): the feed-forward before removed blocks makes up for them.

With M what that feed-forward adds, Y the residual sum before it and H the states after the window,
T = argmin ‖M T - (H - Y)‖² is folded into its down projection, so nothing is added to the model.
The variant is meant to be chosen together with the removal of the window, as the method does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evo.errors import ConfigError

from ..calibration import Calibration
from ..fitting.flow import Flow, passages
from ..fitting.linear import ridge
from ..fitting.moments import Moments
from ..fitting.spans import angular, distances, length_of
from ..layouts import get, matrix, with_weight
from ..library import Library
from ..models import Block
from ..sites import Place, Replacements, Variant

TOLERANCE = 0.02
"""How far a block's output may be from Y + M, as a share of it; half precision rounds."""


@dataclass(frozen=True)
class ReplaceMe:
    """One window: that of the smallest mean angular distance, the first block never in it.

    Args:
        name: What people call it.
        levels: None.
        scorer: None; nothing is scored.
        share: Share of the blocks in the window.
        ridge: λ as a share of the mean diagonal of MᵀM; the paper's default is 0.
        skip: Leading tokens of each sequence that the fit leaves out.
    """

    name: str = "replaceme"
    levels: tuple[float, ...] = ()
    scorer: str | None = None
    share: float = 0.25
    ridge: float = 0.0
    skip: int = 0

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the fitted tensors depend on."""
        return {"share": self.share, "ridge": self.ridge, "skip": self.skip}

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """The window and its map.

        Yields:
            ``window`` (first block, length) and ``map.<block>``, T (d, d), for the block before.

        Raises:
            ConfigError: The blocks are not sequential and normalised before each submodule only,
                or the window has no block or all.
        """
        blocks = calibration.dense.blocks
        length = length_of(self.share, len(blocks), self.name)
        for block in blocks:
            _require_sequential(block)
        allowed = [b.index + 1 for b in calibration.blocks if b.index + length < len(blocks)]
        if not allowed:  # only blocks without room for a window behind them are fitted
            return
        start = allowed[0]
        if len(allowed) > 1:
            far = distances(calibration, length, angular)
            start = min(allowed, key=lambda i: float(far[i]))
        before = blocks[start - 1]
        found = self._map(calibration, before, length)
        yield {"window": torch.tensor([start, length]), f"map.{before.index}": found}

    def _map(self, calibration: Calibration, before: Block, length: int) -> torch.Tensor:
        sums: Moments | None = None
        for passage in passages(calibration, [before], self.skip):
            flow = passage.flows[before.index]
            _require_sum(before, flow)
            x, y = flow.feed_forward.update, flow.feed_forward.residual
            u = passage.states[before.index + 1 + length].double() - y
            sums = sums or Moments.zero(x.shape[1], u.shape[1], x.device)
            sums.add(x, u)
        assert sums is not None
        return ridge(sums.xx, sums.xu, self.ridge)

    def window(self, library: Library) -> range:
        """The blocks that the map makes up for."""
        start, length = library.fitted(self)["window"].tolist()
        return range(start, start + length)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant at the feed-forward, or the block, before the window; nothing elsewhere."""
        name = f"map.{place.block.index}"
        if place.kind not in ("feed_forward", "block") or name not in library.fitted(self):
            return []

        def build() -> Replacements:
            path = place.block.layout.down
            layer = get(place.block.module, path)
            return {path: folded(layer, library.fitted(self)[name])}

        return [Variant(self.name, "replaceme", place.cost(), build)]


def folded(layer: Any, change: torch.Tensor) -> Any:
    """A linear layer followed by the map m → m T, as one layer: W ← Tᵀ W, b ← Tᵀ b.

    Args:
        layer: ``nn.Linear`` or ``Conv1D``; not modified.
        change: T, (d_out, d_out), float64.
    """
    change = change.to(matrix(layer).device)
    weight = change.t() @ matrix(layer).detach().double()
    bias = None if layer.bias is None else change.t() @ layer.bias.detach().double()
    dtype = layer.weight.dtype
    return with_weight(layer, weight.to(dtype), None if bias is None else bias.to(dtype))


def _require_sequential(block: Block) -> None:
    norms = block.layout.attention_norms, block.layout.feed_forward_norms
    if [len(n) for n in norms] != [1, 1]:
        raise _refused(block, "normalises " + ("sums" if not norms[0] else "what is added to them"))


def _require_sum(block: Block, flow: Flow) -> None:
    """Refuse blocks whose attention and feed-forward run side by side, found by their output."""
    second = flow.feed_forward
    error = (flow.after - second.residual - second.update).norm()
    if error > TOLERANCE * flow.after.norm():
        raise _refused(block, "adds attention and feed-forward side by side")


def _refused(block: Block, what: str) -> ConfigError:
    return ConfigError(
        "replaceme needs blocks that add an attention, then a feed-forward to the residual sum, "
        f"each normalised before; block {block.index} {what}",
        hint="choose subfit or removal",
    )


REPLACEME = ReplaceMe()
