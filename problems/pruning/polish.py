"""Polish: chosen variants made again on the pruned prefix, as sequential pruners do.

A search mixes variants freely, so they are all fitted to what the dense model sees. Once a
candidate is chosen, its blocks are gone through in order: the calibration text passes through the
blocks that are pruned already, the statistics of the next block are taken anew while it is still
dense, and its variants are built from these (the order of Wanda, SparseGPT and their successors;
Sun et al. 2024, arXiv 2306.11695, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from . import library
from .calibration import Calibration
from .layouts import twin
from .models import Block, Pretrained
from .sites import Replacements, Site, SiteTable, Variant
from .variants import Asked, update_patterns


def polished(
    pretrained: Pretrained,
    table: SiteTable,
    choices: Sequence[int],
    known: library.Library,
    asked: Sequence[Asked],
    *,
    batches: Sequence[Any],
    fingerprint: str,
    order: str,
) -> tuple[SiteTable, NDArray[np.int16]]:
    """The sites with two variants each, dense and the chosen one made again, and who takes which.

    Args:
        pretrained: The dense model; not modified.
        table: The sites of the search.
        choices: Variant index per site, (S,).
        known: The library of the search.
        asked: Kinds and levels of the search.
        batches: Calibration text.
        fingerprint: Its hash.
        order: How neurons and heads are ranked.
    """
    prefix: dict[int, nn.Module] = {}
    made: dict[int, Variant] = {}
    for block in pretrained.blocks:
        columns = table.by_block().get(block.index, [])
        chosen = {c: table.sites[c].variants[int(choices[c])] for c in columns if choices[c]}
        if not chosen:
            continue
        seen = Calibration(
            _with_prefix(pretrained, prefix), batches, fingerprint, (block,), pretrained
        )
        kinds = {c: _kind_of(table.sites[c], v, known, asked) for c, v in chosen.items()}
        now = library.renewed(
            known, seen, order=order,
            patterns=update_patterns([one for one in kinds.values() if one]),
            kinds=[one.kind for one in kinds.values() if one],
        )  # fmt: skip
        again = {c: _again(table.sites[c], v, now, kinds[c]) for c, v in chosen.items()}
        made |= again
        prefix[block.index] = _block(block, [v.build() for v in again.values()])
    sites = tuple(
        Site(s.place, (s.variants[0], *([made[c]] if c in made else [])))
        for c, s in enumerate(table.sites)
    )
    taken = np.array([c in made for c in range(len(sites))], dtype=np.int16)
    return SiteTable(sites, table.base), taken


def _with_prefix(pretrained: Pretrained, prefix: Mapping[int, nn.Module]) -> Pretrained:
    listed = nn.ModuleList(prefix.get(b.index, b.module) for b in pretrained.blocks)
    return replace(pretrained, model=twin(pretrained.model, {pretrained.blocks_path: listed}))


def _block(block: Block, replacements: Sequence[Replacements]) -> nn.Module:
    return twin(block.module, {path: m for made in replacements for path, m in made.items()})


def _kind_of(
    site: Site, variant: Variant, known: library.Library, asked: Sequence[Asked]
) -> Asked | None:
    """The kind that offered a variant, with the one level that gives it; None if none does."""
    for one in asked:
        for levels in [(level,) for level in one.levels] or [()]:
            offered = one.kind.variants(site.place, known, levels)
            if any(v.name == variant.name for v in offered):
                return Asked(one.kind, levels)
    return None


def _again(site: Site, variant: Variant, now: library.Library, asked: Asked | None) -> Variant:
    if asked is None:
        return variant
    offered = asked.kind.variants(site.place, now, asked.levels)
    # building now keeps what was fitted, not the library behind it
    found = next(v for v in offered if v.name == variant.name)
    kept = found.build()
    return replace(found, build=lambda: kept)
