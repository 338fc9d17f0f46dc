"""Whole populations of seed sets propagated on a device: many worlds at once, by torch."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cascades import Groups, Outcomes, SeedSets
from .worlds import LiveArcs, Model, Threshold, World

_AT_ONCE = 1 << 28  # bytes of one array of worlds × nodes × sets


def propagated(
    sets: SeedSets, model: Model, worlds: Iterable[World], groups: Groups, limit: int | None,
    steps: bool, device: str,
) -> Outcomes:  # fmt: skip
    """As :func:`.cascades.propagated`."""
    count = len(sets)
    arcs = model.graph.m if isinstance(model, Threshold) else model.size // 16
    size = max(1, _AT_ONCE // (4 * max(count, 1) * (sets.n + arcs)))
    which, node = sets.members
    seeds = torch.zeros((sets.n, count), dtype=torch.uint8, device=device)
    seeds[_moved(node, device), _moved(which, device)] = 1
    group = _moved(groups.of, device)
    counts, lasted, rest = [], [], iter(worlds)
    while block := list(islice(rest, size)):
        active, took = _spread(seeds.repeat(len(block), 1), model, block, limit)
        sums = torch.zeros((len(block), groups.count, count), dtype=torch.int32, device=device)
        sums.index_add_(1, group, active.view(len(block), sets.n, count).int())
        counts.append(sums.cpu().numpy())
        lasted.append(took.cpu().numpy())
    found = np.concatenate(counts).transpose(2, 0, 1)  # (P, W, g)
    return Outcomes(found, np.concatenate(lasted).T if steps else None)


def _spread(
    active: Tensor, model: Model, worlds: list[World], limit: int | None
) -> tuple[Tensor, Tensor]:
    """Active nodes in the end (W n, P), and steps of every set, (W, P)."""
    device, n = active.device, len(active) // len(worlds)
    tails, heads = (
        _moved(np.concatenate([ends + n * w for w, ends in enumerate(column)]), device)
        for column in zip(*(_arcs(world, model) for world in worlds), strict=True)
    )
    need = _moved(np.concatenate([_needs(world, model) for world in worlds]), device).int()
    near = torch.zeros(active.shape, dtype=torch.int32, device=device)  # active in-neighbours
    steps = torch.zeros((len(worlds), active.shape[1]), dtype=torch.int32, device=device)
    fresh, level = active, 0
    while limit is None or level < limit:
        level += 1
        near.index_add_(0, heads, fresh[tails].int())
        fresh = (near >= need[:, None]).to(torch.uint8) & (1 - active)
        alive = fresh.view(len(worlds), n, -1).amax(dim=1)
        if not alive.any():
            break
        steps += alive
        active = active | fresh
    return active, steps


def _arcs(world: World, model: Model) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What can activate in that world: live arcs, or all of them."""
    arcs = world if isinstance(world, LiveArcs) else model.graph
    return arcs.sources.astype(np.int64), arcs.targets.astype(np.int64)


def _needs(world: World, model: Model) -> NDArray[np.int64]:
    """How many active in-neighbours activate each node: one over live arcs, (n,)."""
    if isinstance(world, LiveArcs):
        return np.ones(model.graph.n, dtype=np.int64)
    assert isinstance(model, Threshold)
    return model.needs(world)


def _moved(values: NDArray[np.integer], device: str | torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device)
