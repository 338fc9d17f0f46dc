"""The variant library: what calibration text says about a model, kept on disk as safetensors.

It holds the norm of every input of every linear layer, the order of neurons and key/value groups
from the most to the least important, and per scorer one byte per weight that says from which
sparsity level on the weight is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .importance import find, gone_by_count, gone_from
from .importance.multiflow import pooled_counts
from .layouts import get, matrix
from .models import Block, Pretrained

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Library:
    """Orders, norms and sparsity codes of one model under one calibration text.

    Args:
        tensors: ``norm.<block>.<path>`` (d_in,), ``neurons.<block>`` (h,), ``groups.<block>``
            (KV,), and after :meth:`codes` ``code.<scorer>.<block>.<path>``.
        sparsities: Scorer → ascending levels its codes refer to.
    """

    tensors: dict[str, torch.Tensor]
    sparsities: dict[str, list[float]] = field(default_factory=dict)

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
        return find(scorer).score(weight, self.norms(block, path)).cpu()


def build(
    pretrained: Pretrained,
    calibration: Sequence[Any],
    *,
    calibration_id: str,
    order: str,
    sparsities: dict[str, list[float]],
    cache: Path | None,
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
    """
    key = {
        "format": FORMAT, "model": pretrained.fingerprint, "dtype": str(pretrained.dtype),
        "calibration": calibration_id, "order": order, "sparsities": sparsities,
    }  # fmt: skip
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
    file = cache / f"library-{name}.safetensors" if cache else None
    tensors = _read(file, key) if file else None
    if tensors is None:
        tensors = _measure(pretrained, calibration, order)
        tensors |= _codes(Library(tensors), pretrained.blocks, sparsities)
        if file:
            _write(file, tensors, key)
    return Library(tensors, sparsities)


def _read(file: Path, key: dict[str, Any]) -> dict[str, torch.Tensor] | None:
    """Memory-mapped tensors of a library on disk; None when absent, damaged or of another key."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as handle:
            if json.loads((handle.metadata() or {}).get("key", "null")) != key:
                return None
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return None


def _write(file: Path, tensors: dict[str, torch.Tensor], key: dict[str, Any]) -> None:
    """Write atomically; a cache that cannot be written is no reason to stop."""
    with contextlib.suppress(OSError, SafetensorError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        save_file(tensors, temporary, metadata={"key": json.dumps(key)})
        os.replace(temporary, file)


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
    with torch.inference_mode():
        for batch in calibration:
            with _listening(pretrained, batch, sums):
                base = pretrained.model.base_model
                mask = None if batch.mask is None else batch.mask.to(pretrained.device)
                base(input_ids=batch.ids.to(pretrained.device), attention_mask=mask)
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


@contextlib.contextmanager
def _listening(
    pretrained: Pretrained, batch: Any, sums: dict[tuple[int, str], _Sums]
) -> Iterator[None]:
    """Hooks on every linear layer of every block while one calibration batch passes."""
    handles = []
    for block in pretrained.blocks:
        layout = block.layout
        for path in (*layout.attention_linears, *layout.feed_forward_linears):
            record = sums.setdefault((block.index, path), _Sums())
            hook = _hook(record, batch, block, path)
            handles.append(get(block.module, path).register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(record: _Sums, batch: Any, block: Block, path: str) -> Any:
    sequences = len(batch.ids)

    def hook(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        x = arguments[0].reshape(-1, arguments[0].shape[-1]).double()  # (B*T, d_in)
        if batch.mask is not None:
            x = x * batch.mask.reshape(-1, 1).to(x)
        squares = x.square().reshape(sequences, -1, x.shape[-1]).sum(1)  # (B, d_in)
        record.squares = _plus(record.squares, squares.sum(0))
        if path == block.layout.down:
            record.sample_norms = _plus(record.sample_norms, squares.sqrt().sum(0))
        if path == block.layout.output:
            grouped = x.reshape(len(x), block.heads.groups, -1)
            products = torch.einsum("tgk,tgl->gkl", grouped, grouped)
            record.products = _plus(record.products, products)

    return hook


def _plus(total: torch.Tensor | None, more: torch.Tensor) -> torch.Tensor:
    return more if total is None else total + more


def _codes(
    library: Library, blocks: Sequence[Block], sparsities: dict[str, list[float]]
) -> dict[str, torch.Tensor]:
    layers = [
        (block, path)
        for block in blocks
        for path in (*block.layout.attention_linears, *block.layout.feed_forward_linears)
    ]
    found = {}
    for scorer, levels in sparsities.items():
        rule, counts = find(scorer).rule, []
        if rule == "pooled":
            weights = [matrix(get(block.module, path)).detach() for block, path in layers]
            counts = pooled_counts(weights, levels)
        for i, (block, path) in enumerate(layers):
            scores = library.scores(scorer, block, path)
            own = [count[i] for count in counts]
            code = gone_by_count(scores, own) if own else gone_from(scores, rule, levels)
            found[f"code.{scorer}.{block.index}.{path}"] = code
    return found
