"""Low rank refitted in sequence: SVD-LLM's truncation, MPIFA's reconstruction, PIFA's pivot form.

MPIFA (arXiv 2501.19090) goes from block to block and from group to group of layers that share an
input: queries, keys and values; attention output; gate and up; down. Each layer is refitted on the
inputs that it has once everything before it is pruned. So all layers belong together, and a choice
of some of them alone is only an approximation. The paper names the groups of Llama; others follow
from the layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from evo.errors import ConfigError, ModelError

from ..calibration import Calibration
from ..grams import input_groups, require_finite
from ..layouts import get, matrix, twin
from ..library import Library
from ..models import Block
from ..modules import Pivot
from ..pivoting import pivot_form
from ..refit import RIDGE, refit, targets
from ..side_by_side import Prefixes
from ..sites import Place, Variant, shape_of
from ..whitening import spectrum, whitener
from .low_rank import PivotForm, factored, layer_rank, require_multiple, site_ranks


@dataclass(frozen=True)
class MPIFA:
    """One choice: the refitted layer at a density that is a setting, as all layers share it.

    Args:
        density: Share of each linear layer's weights that stays.
        mu: Share of the dense model's own outputs in the targets.
        steps: 1 refits the second factor, 2 both.
        ridge: Pull of the second step towards the dense weights.
        multiple: Ranks are rounded up to multiples of it.
    """

    name: str = "mpifa"
    levels: tuple[float, ...] = ()
    scorer: str | None = None
    density: float = 0.5
    mu: float = 0.25
    steps: int = 2
    ridge: float = RIDGE
    multiple: int = 1
    version: int = 1

    def __post_init__(self) -> None:
        require_multiple(self.name, self.multiple)
        for name, fine, said in (
            ("density", 0 < self.density < 1, "between 0 and 1"),
            ("mu", 0 <= self.mu <= 1, "from 0 to 1"),
            ("steps", self.steps in (1, 2), "1 or 2"),
            ("ridge", self.ridge >= 0, "at least 0"),
        ):
            if not fine:
                raise ConfigError(
                    f"{name} of variant {self.name!r} must be {said}, got {getattr(self, name)}"
                )

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the fitted layers depend on besides model and text."""
        return {
            "density": self.density, "mu": self.mu, "steps": self.steps, "ridge": self.ridge,
            "multiple": self.multiple,
        }  # fmt: skip

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """Pivot forms block by block, in the model's dtype.

        Blocks that are not asked for stay as they are in ``calibration.pretrained``, whose prefix
        may be pruned already.

        Raises:
            ModelError: Inputs are not finite, or refitted weights leave the model's dtype.
        """
        dense = calibration.dense
        prefixes = Prefixes(dense, calibration.batches)
        wanted = {block.index for block in calibration.blocks}
        now: Any = get(calibration.pretrained.model, dense.blocks_path)
        for block in dense.blocks[: max(wanted) + 1]:
            if block.index not in wanted:
                prefixes.advance(block.index, block.module, now[block.index])
                continue
            made = self._block(prefixes, block)
            prefixes.advance(block.index, block.module, twin(block.module, made))
            yield {
                _name(block, path, part): tensor
                for path, module in made.items()
                for part, tensor in _parts(module).items()
            }

    def _block(self, prefixes: Prefixes, block: Block) -> dict[str, Pivot]:
        """The block's layers of low rank, refitted group by group."""
        groups, made = input_groups(block.layout), {}
        grams = prefixes.dense_grams(block.index, block.module, tuple(g[0] for g in groups))
        for group in groups:
            now = twin(block.module, made)
            gram, cross = prefixes.products(block.index, block.module, now, group[0])
            for found in (gram, cross, grams[group[0]]):
                require_finite(found, block, group[0])
            root = whitener(grams[group[0]])
            for path in group:
                layer = self._layer(block, path, root, gram, cross)
                made |= {} if layer is None else {path: layer}
        return made

    def _layer(
        self, block: Block, path: str, root: torch.Tensor, gram: torch.Tensor, cross: torch.Tensor
    ) -> Pivot | None:
        layer: Any = get(block.module, path)
        rank = layer_rank(PivotForm(self.multiple), self.density, shape_of(layer))
        if rank is None:
            return None
        weight = matrix(layer).detach()
        exact = weight.double()
        first = spectrum(exact, root).first[:rank]
        second, first = refit(
            exact, first, gram, targets(exact, gram, cross, self.mu),
            steps=self.steps, ridge=self.ridge,
        )  # fmt: skip
        form = pivot_form(first, second)
        kept, mix = form.kept.to(weight.dtype), form.mix.to(weight.dtype)
        if not (kept.isfinite().all() and mix.isfinite().all()):
            raise ModelError(
                f"{path} of block {block.index} does not fit into {weight.dtype} once refitted",
                hint="load the model as float32 with --set problem.dtype=float32",
            )
        return Pivot(form.pivots, kept, mix, layer.bias)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant; none where nothing gets smaller.

        Raises:
            ConfigError: Levels were asked for.
        """
        if levels:
            raise ConfigError(
                "variant 'mpifa' has no levels: all its layers are fitted together at one density",
                hint=f"write mpifa(density={levels[0]:g})",
            )
        form = PivotForm(self.multiple)
        found = site_ranks(place, form, self.density)

        def module(path: str, rank: int) -> nn.Module:
            layer: Any = get(place.block.module, path)
            tensors = library.fitted(self)
            pivots, kept, mix = (
                tensors[_name(place.block, path, part)].to(layer.weight.device)
                for part in ("pivots", "kept", "mix")
            )
            return Pivot(pivots, kept, mix, layer.bias)

        return [factored(place, (self.name, "mpifa"), form, found, module)] if found else []


def _name(block: Block, path: str, part: str) -> str:
    return f"{block.index}.{path}.{part}"


def _parts(module: Pivot) -> dict[str, torch.Tensor]:
    return {"pivots": module.pivots.data, "kept": module.kept.data, "mix": module.mix.data}


REFITTED = MPIFA()
