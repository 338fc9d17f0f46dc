"""The variant library: what calibration text says about a model, kept on disk as safetensors.

It holds the norm of every input of every linear layer, the order of neurons and key/value groups
from the most to the least important, and per scorer one byte per weight that says from which
sparsity level on the weight is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from . import fits, gradients, tensor_files, updates
from .calibration import Calibration
from .importance import find, gone_by_count, gone_from
from .importance.multiflow import pooled_counts
from .importance.sparsegpt import Pattern
from .layouts import get, matrix
from .listening import layers_of, listen
from .models import Block, Pretrained

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Library:
    """Orders, norms and sparsity codes of one model under one calibration text.

    Args:
        tensors: ``norm.<block>.<path>`` (d_in,), ``neurons.<block>`` (h,), ``groups.<block>``
            (KV,), ``code.<scorer>.<block>.<path>``, and what :mod:`.gradients` and
            :mod:`.updates` add.
        sparsities: Scorer → ascending levels its codes refer to.
        fits: Kind → what its ``fit`` has learnt from the calibration text.
    """

    tensors: dict[str, torch.Tensor]
    sparsities: dict[str, list[float]] = field(default_factory=dict)
    fits: dict[Any, dict[str, torch.Tensor]] = field(default_factory=dict)

    def fitted(self, kind: Any) -> dict[str, torch.Tensor]:
        """What a kind's ``fit`` has learnt, by name."""
        return self.fits[kind]

    def norms(self, block: Block, path: str) -> torch.Tensor:
        """Norm of each input of a linear layer over the calibration tokens, (d_in,)."""
        return self.tensors[f"norm.{block.index}.{path}"]

    def neurons(self, block: Block) -> torch.Tensor:
        """Neurons of the feed-forward, most important first, (h,)."""
        return self.tensors[f"neurons.{block.index}"].long()

    def groups(self, block: Block) -> torch.Tensor:
        """Key/value groups of the attention, most important first, (KV,)."""
        return self.tensors[f"groups.{block.index}"].long()

    def codes(self, scorer: str, block: Block, path: str) -> torch.Tensor:
        """First level at which each weight is gone, uint8 (d_out, d_in)."""
        return self.tensors[f"code.{scorer}.{block.index}.{path}"]

    def scores(self, scorer: str, block: Block, path: str) -> torch.Tensor:
        """Scores of a linear layer, computed anew, (d_out, d_in)."""
        weight = matrix(get(block.module, path)).detach()
        chosen, given = find(scorer), [self.norms(block, path)]
        if chosen.gradients:
            given.append(self.tensors[gradients.name_of(block, path)])
        return chosen.score(weight, *given).cpu()

    def updated(self, pattern: Pattern, block: Block, path: str) -> torch.Tensor:
        """Weight of a linear layer after SparseGPT, (d_out, d_in)."""
        return self.tensors[updates.name_of(pattern, block, path)]

    def updated_zeros(self, pattern: Pattern, block: Block, path: str) -> int:
        """How many of its entries are zero."""
        return int(self.tensors[f"{updates.name_of(pattern, block, path)}.zeros"])


def build(
    pretrained: Pretrained,
    calibration: Sequence[Any],
    *,
    calibration_id: str,
    order: str,
    sparsities: dict[str, list[float]],
    cache: Path | None,
    patterns: Sequence[Pattern] = (),
    scorers: Collection[str] = (),
    kinds: Collection[Any] = (),
) -> Library:
    """The library of a model, from disk when the same one was built before.

    Args:
        pretrained: The dense model; not modified.
        calibration: Micro-batches with ``ids`` (B, T) and ``mask`` (B, T) or None.
        calibration_id: Fingerprint of the calibration text.
        order: ``output`` ranks neurons and groups by the size of their contribution to the residual
            sum, ``activation`` by the mean over sequences of the norm of their activation (2SSP,
            arXiv 2501.17771, stage 1).
        sparsities: Scorer → ascending sparsity levels.
        cache: Folder to keep it in, or None.
        patterns: Shares of zeros and (n, m) of which updated weights are wanted.
        scorers: Further ones whose scores will be asked for.
        kinds: Kinds of variants; those with ``fit`` are shown the text.

    Raises:
        ConfigError: A scorer or a pattern does not fit the model.
        ModelError: The calibration text leads to numbers that are not finite.
    """
    key = {
        "format": FORMAT, "model": pretrained.fingerprint, "dtype": str(pretrained.dtype),
        "calibration": calibration_id, "order": order, "sparsities": sparsities,
    }  # fmt: skip
    file = tensor_files.file_of(cache, "library", key) if cache else None
    tensors = tensor_files.read(file, key) if file else None
    more: dict[str, torch.Tensor] = {}
    if any(find(scorer).gradients for scorer in (*sparsities, *scorers)):
        more = gradients.build(pretrained, calibration, calibration_id=calibration_id, cache=cache)
    if tensors is None:
        tensors = _measure(pretrained, calibration, order)
        tensors |= _codes(Library(tensors | more), pretrained.blocks, sparsities)
        if file:
            tensor_files.write(file, tensors, key)
    if patterns:
        more |= updates.build(
            pretrained, calibration, calibration_id=calibration_id, patterns=patterns, cache=cache
        )
    calibrated = Calibration(pretrained, calibration, calibration_id)
    return Library(tensors | more, sparsities, fits.build(calibrated, kinds, cache))


def renewed(
    library: Library,
    calibration: Calibration,
    *,
    order: str,
    patterns: Sequence[Pattern],
    kinds: Collection[Any],
) -> Library:
    """The library as another model sees the same text, in the blocks of ``calibration`` only.

    Gradients and counts that follow all matrices stay those of the dense model, as published.

    Args:
        library: The dense model's.
        calibration: A model whose earlier blocks are pruned; its ``blocks`` are still dense.
        order: As for :func:`build`.
        patterns: Updated weights that are wanted again.
        kinds: Kinds that are fitted again.
    """
    seen = replace(calibration.pretrained, blocks=calibration.blocks)
    tensors = library.tensors | _measure(seen, calibration.batches, order)
    tensors |= _codes(Library(tensors), calibration.dense.blocks, library.sparsities, seen.blocks)
    if patterns:
        tensors |= updates.build(
            seen, calibration.batches, calibration_id="", patterns=patterns, cache=None
        )
    again = fits.build(calibration, kinds, None)
    fitted = library.fits | {kind: library.fitted(kind) | new for kind, new in again.items()}
    return Library(tensors, library.sparsities, fitted)


@dataclass
class _Sums:
    """Running sums over calibration tokens for one linear layer."""

    squares: torch.Tensor | None = None  # (d_in,)
    sample_norms: torch.Tensor | None = None  # (d_in,), summed over sequences
    products: torch.Tensor | None = None  # (KV, k, k) second moments per group


def _measure(
    pretrained: Pretrained, calibration: Sequence[Any], order: str
) -> dict[str, torch.Tensor]:
    sums: dict[tuple[int, str], _Sums] = {}

    def see(block: Block, path: str, x: torch.Tensor, sequences: int) -> None:
        _add(sums.setdefault((block.index, path), _Sums()), block, path, x, sequences)

    listen(pretrained, calibration, pretrained.blocks, see)
    tensors = {
        f"norm.{i}.{path}": s.squares.sqrt().float().cpu().contiguous()
        for (i, path), s in sums.items()
        if s.squares is not None
    }
    for block in pretrained.blocks:
        down, output = (sums[block.index, p] for p in (block.layout.down, block.layout.output))
        neurons = _neuron_scores(block, down, order)
        groups = _group_scores(block, output, order)
        tensors[f"neurons.{block.index}"] = _descending(neurons)
        tensors[f"groups.{block.index}"] = _descending(groups)
    return tensors


def _descending(scores: torch.Tensor) -> torch.Tensor:
    return torch.argsort(-scores.double(), stable=True).to(torch.int32).cpu()


def _neuron_scores(block: Block, sums: _Sums, order: str) -> torch.Tensor:
    assert sums.squares is not None
    assert sums.sample_norms is not None
    if order == "activation":
        return sums.sample_norms
    columns = matrix(get(block.module, block.layout.down)).float().norm(dim=0)
    return sums.squares.sqrt() * columns.to(sums.squares.device)


def _group_scores(block: Block, sums: _Sums, order: str) -> torch.Tensor:
    """Second moment of what each group adds to the residual sum: trace of W_g M_g W_gᵀ."""
    assert sums.products is not None
    if order == "activation":
        return torch.diagonal(sums.products, dim1=1, dim2=2).sum(1)
    weight = matrix(get(block.module, block.layout.output)).double()  # (D, Q)
    pieces = weight.reshape(weight.shape[0], block.heads.groups, -1).permute(1, 0, 2)
    return torch.einsum("gdk,gkl,gdl->g", pieces, sums.products.to(weight.device), pieces)


def _add(record: _Sums, block: Block, path: str, x: torch.Tensor, sequences: int) -> None:
    squares = x.square().reshape(sequences, -1, x.shape[-1]).sum(1)  # (B, d_in)
    record.squares = _plus(record.squares, squares.sum(0))
    if path == block.layout.down:
        record.sample_norms = _plus(record.sample_norms, squares.sqrt().sum(0))
    if path == block.layout.output:
        grouped = x.reshape(len(x), block.heads.groups, -1)
        products = torch.einsum("tgk,tgl->gkl", grouped, grouped)
        record.products = _plus(record.products, products)


def _plus(total: torch.Tensor | None, more: torch.Tensor) -> torch.Tensor:
    return more if total is None else total + more


def _codes(
    library: Library,
    blocks: Sequence[Block],
    sparsities: dict[str, list[float]],
    wanted: Sequence[Block] | None = None,
) -> dict[str, torch.Tensor]:
    """Codes of the layers of the wanted blocks, of all when None."""
    layers = layers_of(blocks)
    inside = {block.index for block in (blocks if wanted is None else wanted)}
    found = {}
    for scorer, levels in sparsities.items():
        chosen, counts = find(scorer), []
        if chosen.rule == "pooled":
            weights = [matrix(get(block.module, path)).detach() for block, path in layers]
            counts = pooled_counts(weights, levels)
        for i, (block, path) in enumerate(layers):
            if block.index not in inside:
                continue
            scores = library.scores(scorer, block, path)
            own = [count[i] for count in counts]
            found[f"code.{scorer}.{block.index}.{path}"] = (
                gone_by_count(scores, own)
                if own
                else gone_from(scores, chosen.rule, levels, chosen.counts)
            )
    return found
