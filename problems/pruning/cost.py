"""Measured latency: per site and variant, added up, and confirmed on whole pruned models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .layouts import get, twin, without_attention, without_feed_forward
from .models import Pretrained
from .modules import share
from .sites import Site, SiteTable, padded, shape_of
from .sweep import Sweep
from .tally import synchronise

REPEATS = 15
TOGETHER = 8  # whole models that are timed in turns, and in memory at once


def pruned_model(pretrained: Pretrained, table: SiteTable, choices: Sequence[int]) -> Any:
    """One candidate as a whole model that shares the dense model's unchanged weights.

    Args:
        pretrained: The dense model; not modified.
        table: Its sites.
        choices: Variant index per site, (S,).
    """
    blocks, columns = [], table.by_block()
    for block in pretrained.blocks:
        made: dict[str, nn.Module] = {}
        for column in columns.get(block.index, ()):  # a block may have no site at all
            made.update(table.sites[column].variants[int(choices[column])].build())
        blocks.append(twin(block.module, made))
    model = twin(pretrained.model, {pretrained.blocks_path: nn.ModuleList(blocks)})
    share(model)
    return model


def clock(
    fns: Sequence[Callable[[], Any]],
    device: torch.device,
    repeats: int = REPEATS,
    summary: Callable[[Any], Any] = np.median,
) -> list[float]:
    """Milliseconds of each function; rounds are interleaved so that drift hits all alike.

    Args:
        fns: What to time.
        device: Where it runs.
        repeats: Rounds after one warm-up.
        summary: Of the rounds; the median of whole models, the least of parts that are subtracted,
            since what disturbs a round only ever adds.
    """
    times: list[list[float]] = [[] for _ in fns]
    with torch.inference_mode():
        for fn in fns:  # warm up
            fn()
        for _ in range(repeats):
            for fn, record in zip(fns, times, strict=True):
                synchronise(device)
                start = time.perf_counter()
                fn()
                synchronise(device)
                record.append(1e3 * (time.perf_counter() - start))
    return [float(summary(record)) for record in times]


def measure(sweep: Sweep, batch: Any, repeats: int = REPEATS) -> dict[str, Any]:
    """Milliseconds of every variant at every site on one micro-batch, and of everything else.

    Sites of one shape are measured once. A site's time is that of its block with everything else in
    it removed, minus that of the block with nothing in it; a single layer is run by itself on its
    own inputs. Unstructured sparsity runs at dense speed, so layers that have no other choice are
    not measured and stay in ``base``.

    Returns:
        JSON: ``base`` (ms of embeddings, head and norms that stay), ``dense`` (ms of the dense
        model) and ``sites``, one list of ms per site, scaled so that the dense ones and ``base``
        add up to ``dense``.
    """
    table = sweep.table
    prepared = sweep.prepare(batch)
    known: dict[Any, list[float]] = {}
    rows = []
    for column, site in enumerate(table.sites):
        key = _signature(site)
        if key not in known:
            known[key] = _site_times(sweep, column, prepared, repeats)
        rows.append(known[key])
    dense, base = _whole_times(sweep, batch, repeats)
    summed = sum(row[0] for row in rows)
    scale = (dense - base) / summed if summed > 0 else 0.0
    return {"base": base, "sites": [[scale * t for t in row] for row in rows], "dense": dense}


def _whole_times(sweep: Sweep, batch: Any, repeats: int) -> tuple[float, float]:
    """Milliseconds of the dense model, and of the model without what the sites time."""
    pretrained = sweep.pretrained
    gone: dict[int, dict[str, nn.Module]] = {b.index: {} for b in pretrained.blocks}
    for site in sweep.table.sites:
        block = pretrained.blocks[site.depth]
        if site.kind in ("attention", "block"):
            gone[site.depth] |= without_attention(block.module, block.layout)
        if site.kind in ("feed_forward", "block"):
            gone[site.depth] |= without_feed_forward(block.module, block.layout)
        if _is_measured_layer(site):
            (path,) = site.place.linears
            gone[site.depth][path] = Blank(shape_of(get(block.module, path))[0])
    bare = [twin(b.module, gone[b.index]) for b in pretrained.blocks]
    rest = twin(pretrained.model, {pretrained.blocks_path: nn.ModuleList(bare)})
    inputs = sweep._inputs(batch)
    runs = [lambda: pretrained.model(**inputs), lambda: rest(**inputs)]
    dense, base = clock(runs, pretrained.device, repeats, np.min)
    return dense, min(base, dense)


def _signature(site: Site) -> Any:
    place = site.place
    shapes = tuple(sorted(place.shapes().items()))
    return place.kind, shapes, tuple(f"{v.name} {dict(v.shape)}" for v in site.variants)


def _is_measured_layer(site: Site) -> bool:
    """Whether a site is a single layer with a choice that changes its speed."""
    return site.kind == "linear" and any(v.shape for v in site.variants)


class Blank(nn.Module):
    """Stands where a linear layer was: zeros of its outputs' shape, made once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.zeros: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Shape (…, width) from (…, d_in)."""
        shape = (*hidden_states.shape[:-1], self.width)
        if self.zeros is None or self.zeros.shape != shape:
            self.zeros = hidden_states.new_zeros(shape)
        return self.zeros


def _site_times(sweep: Sweep, column: int, prepared: Any, repeats: int) -> list[float]:
    site = sweep.table.sites[column]
    if _is_measured_layer(site):
        return _layer_times(sweep, site, prepared, repeats)
    if site.kind == "linear":
        return [0.0] * len(site.variants)
    block = sweep.pretrained.blocks[site.depth]
    args, kwargs = prepared.calls[site.depth]
    other = _others_gone(sweep, column)
    runs: list[Callable[[], Any]] = []
    for variant in site.variants:
        module = twin(block.module, other | dict(variant.build() if variant.shape else {}))
        runs.append(lambda module=module: module(prepared.hidden, *args, **kwargs))
    empty = without_attention(block.module, block.layout)
    empty |= without_feed_forward(block.module, block.layout)
    nothing = twin(block.module, empty)
    runs.append(lambda: nothing(prepared.hidden, *args, **kwargs))
    times = clock(runs, sweep.pretrained.device, repeats, np.min)
    dense = max(0.0, times[0] - times[-1])
    found = []
    for variant, taken in zip(site.variants, times[:-1], strict=True):
        alone = 0.0 if variant.kind == "removal" else max(0.0, taken - times[-1])
        found.append(alone if variant.shape else dense)
    return found


def _layer_times(sweep: Sweep, site: Site, prepared: Any, repeats: int) -> list[float]:
    """Milliseconds of a layer by itself under each of its choices."""
    block = sweep.pretrained.blocks[site.depth].module
    (path,) = site.place.linears
    seen: list[torch.Tensor] = []
    handle = get(block, path).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    args, kwargs = prepared.calls[site.depth]
    try:
        with torch.inference_mode():
            block(prepared.hidden, *args, **kwargs)
    finally:
        handle.remove()
    changes = [v.build() for v in site.variants if v.shape]
    modules = [get(twin(block, change), path) for change in ({}, *changes)]
    runs = [lambda module=module: module(seen[0]) for module in modules]
    dense, *changed = clock(runs, sweep.pretrained.device, repeats, np.min)
    times = iter(changed)
    return [next(times) if v.shape else dense for v in site.variants]


def _others_gone(sweep: Sweep, column: int) -> dict[str, nn.Module]:
    """Replacements that empty the other half of a block."""
    site = sweep.table.sites[column]
    block = sweep.pretrained.blocks[site.depth]
    if site.kind == "attention":
        return without_feed_forward(block.module, block.layout)
    if site.kind == "feed_forward":
        return without_attention(block.module, block.layout)
    return {}


def table_of(measured: dict[str, Any]) -> NDArray[np.float64]:
    """The (S, V) table of milliseconds in a measurement."""
    return padded(measured["sites"])


def confirm(
    sweep: Sweep, choices: NDArray[Any], batch: Any, repeats: int = 7
) -> NDArray[np.float64]:
    """Median milliseconds of whole pruned models on one micro-batch, (n,).

    A few neighbours are timed in turns, so that what disturbs the machine hits them alike.
    """
    inputs = sweep._inputs(batch)
    found: list[float] = []
    for start in range(0, len(choices), TOGETHER):
        models = [
            pruned_model(sweep.pretrained, sweep.table, row)
            for row in choices[start : start + TOGETHER]
        ]
        runs = [lambda model=model: model(**inputs) for model in models]
        found += clock(runs, sweep.pretrained.device, repeats)
    return np.array(found)
