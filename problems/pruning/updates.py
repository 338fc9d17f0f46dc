"""Updated weights: what SparseGPT makes of every linear layer, kept on disk block by block.

A level changes the weights that stay, so each level is a set of weights of its own. They depend on
the dense model and the calibration text alone, and are computed once for all searches. A search
mixes levels freely, so every layer is given the inputs that it has in the dense model; the
published pruner goes from block to block and gives each the outputs of those already pruned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from evo.errors import ModelError

from . import tensor_files
from .importance import require_multiples
from .importance.sparsegpt import COLUMNS, DAMPING, Pattern, factor, prune
from .layouts import get, matrix
from .listening import layers_of, listen
from .models import Block, Pretrained

FORMAT = 1
HESSIAN_BYTES = 2 << 30  # Hessians held at once; the text passes once per group of blocks that fit


def name_of(pattern: Pattern, block: Block, path: str) -> str:
    """Under which name a layer's weights are kept; ``<name>.zeros`` counts their zeros."""
    return f"sparsegpt.{_label(pattern)}.{block.index}.{path}"


def build(
    pretrained: Pretrained,
    calibration: Sequence[Any],
    *,
    calibration_id: str,
    patterns: Sequence[Pattern],
    cache: Path | None,
) -> dict[str, torch.Tensor]:
    """Weights of every linear layer under every pattern, memory-mapped where they are kept.

    Args:
        pretrained: The dense model; not modified.
        calibration: Micro-batches with ``ids`` (B, T) and ``mask`` (B, T) or None.
        calibration_id: Fingerprint of the calibration text.
        patterns: Shares of zeros, and (n, m).
        cache: Folder to keep them in, or None to hold them in memory.

    Raises:
        ConfigError: m does not divide the inputs of a layer.
        ModelError: A layer's inputs are not finite.
    """
    _check(pretrained.blocks, patterns)
    found: dict[str, torch.Tensor] = {}
    missing: dict[int, list[Pattern]] = {}
    for block in pretrained.blocks:
        for pattern in patterns:
            key = _key(pretrained, calibration_id, block, pattern)
            kept = tensor_files.read(_file(cache, key), key) if cache else None
            if kept is None:
                missing.setdefault(block.index, []).append(pattern)
            else:
                found |= kept
    for group in _groups([b for b in pretrained.blocks if b.index in missing]):
        hessians = _hessians(pretrained, calibration, group)
        for block in group:
            made = _block(block, hessians, missing[block.index])
            for pattern, tensors in made.items():
                key = _key(pretrained, calibration_id, block, pattern)
                found |= _kept(cache, key, tensors)
    return found


def _kept(
    cache: Path | None, key: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The same tensors, on disk instead of in memory where that is possible."""
    if cache is None:
        return tensors
    tensor_files.write(_file(cache, key), tensors, key)
    return tensor_files.read(_file(cache, key), key) or tensors


def _key(pretrained: Pretrained, text: str, block: Block, pattern: Pattern) -> dict[str, Any]:
    return {
        "format": FORMAT, "model": pretrained.fingerprint, "dtype": str(pretrained.dtype),
        "calibration": text, "method": "sparsegpt", "damping": DAMPING, "columns": COLUMNS,
        "pattern": _label(pattern), "block": block.index,
    }  # fmt: skip


def _file(cache: Path, key: dict[str, Any]) -> Path:
    return tensor_files.file_of(cache, "sparsegpt", key)


def _label(pattern: Pattern) -> str:
    return f"{pattern[0]}:{pattern[1]}" if isinstance(pattern, tuple) else str(pattern)


def _check(blocks: Sequence[Block], patterns: Sequence[Pattern]) -> None:
    for pattern in patterns:
        if isinstance(pattern, tuple):
            for block, path in layers_of(blocks):
                inputs = _inputs(block, path)
                require_multiples(f"{_label(pattern)}@sparsegpt", pattern[1], inputs, block, path)


def _inputs(block: Block, path: str) -> int:
    return matrix(get(block.module, path)).shape[1]


def _groups(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Neighbouring blocks whose Hessians fit together, at least one at a time."""
    group: list[Block] = []
    size = 0
    for block in blocks:
        own = sum(8 * _inputs(b, path) ** 2 for b, path in layers_of([block]))
        if group and size + own > HESSIAN_BYTES:
            yield group
            group, size = [], 0
        group.append(block)
        size += own
    if group:
        yield group


def _hessians(
    pretrained: Pretrained, calibration: Sequence[Any], blocks: Sequence[Block]
) -> dict[tuple[int, str], torch.Tensor]:
    """2/N·Σ x xᵀ of each layer's inputs over all tokens of the N sequences, float64."""
    sums: dict[tuple[int, str], torch.Tensor] = {}
    scale = 2 / sum(len(batch.ids) for batch in calibration)

    def see(block: Block, path: str, x: torch.Tensor, sequences: int) -> None:
        product = (x.t() @ x).mul_(scale)
        key = (block.index, path)
        sums[key] = sums[key].add_(product) if key in sums else product

    listen(pretrained, calibration, blocks, see)
    return sums


def factored(
    pretrained: Pretrained, calibration: Sequence[Any], blocks: Sequence[Block]
) -> Iterator[tuple[Block, str, torch.Tensor, torch.Tensor]]:
    """Every linear layer of some blocks with what :func:`prune` needs, in order.

    Raises:
        ModelError: A layer's inputs are not finite.
    """
    for group in _groups(blocks):
        hessians = _hessians(pretrained, calibration, group)
        for block, path in layers_of(group):
            yield block, path, *_factor(block, path, hessians.pop((block.index, path)))


def _factor(block: Block, path: str, hessian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if not hessian.isfinite().all():
        raise ModelError(
            f"inputs of {path} of block {block.index} are not finite on the calibration text",
            hint="load the model as float32 with --set problem.dtype=float32",
        )
    return factor(hessian)


def _block(
    block: Block, hessians: dict[tuple[int, str], torch.Tensor], patterns: Sequence[Pattern]
) -> dict[Pattern, dict[str, torch.Tensor]]:
    """Weights of one block's layers by pattern; its Hessians are used up."""
    made: dict[Pattern, dict[str, torch.Tensor]] = {pattern: {} for pattern in patterns}
    for _, path in layers_of([block]):
        upper, dead = _factor(block, path, hessians.pop((block.index, path)))
        weight = matrix(get(block.module, path)).detach()
        for pattern, tensors in made.items():
            changed = prune(weight, upper, dead, pattern).cpu().contiguous()
            name = name_of(pattern, block, path)
            tensors[name] = changed
            tensors[f"{name}.zeros"] = (changed == 0).sum()
    return made
