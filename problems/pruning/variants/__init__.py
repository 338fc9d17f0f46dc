"""Kinds of choices, one file each; every kind maps a place and its levels to variants.

A kind is an object with ``levels`` (the default ones), ``scorer`` (or None) and ``variants(place,
library, levels)``, which returns nothing where it does not apply. One that takes updated weights
from the library says of which patterns in ``updates(levels)``. Anyone's ``module:attr`` may stand
where a built-in name may.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evo.errors import ConfigError
from evo.registry import load

from ..importance import SCORERS, base_name
from ..importance.sparsegpt import Pattern
from ..library import Library
from ..sites import Place, Replacements, Site, Variant
from .heads import HEADS
from .removal import REMOVAL
from .sparsity import NofM, kind_of_scorer, n_of_m_kind
from .updates import SPARSEGPT
from .width import WIDTH

NAMES = ("removal", "heads", "width", *SCORERS, "sparsegpt", "N:M")


class Kind(Protocol):
    """A family of choices."""

    name: str
    levels: tuple[float, ...]
    scorer: str | None

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """Choices at a place, without the dense one; empty where the kind does not apply."""
        ...


@dataclass(frozen=True)
class Asked:
    """A kind with the levels the user asked for."""

    kind: Any
    levels: tuple[float, ...]


def parse(text: str) -> Asked:
    """Read ``width``, ``width@0.75,0.5``, ``wanda@0.5``, ``2:4``, ``2:4@wanda`` or ``module:attr``.

    Raises:
        ConfigError: Unknown kind, or levels that are not numbers between 0 and 1.
    """
    name, _, tail = str(text).partition("@")
    left, colon, right = name.partition(":")
    if colon and left.isdigit() and right.isdigit():
        return Asked(n_of_m_kind(int(left), int(right), tail or "wanda"), ())
    kind = _named(name) if not colon else load("variant", name)
    levels = _levels(text, tail) if tail else tuple(kind.levels)
    return Asked(kind, levels)


def _named(name: str) -> Any:
    for kind in (REMOVAL, HEADS, WIDTH, SPARSEGPT):
        if kind.name == name:
            return kind
    if base_name(name) in SCORERS:
        return kind_of_scorer(name)
    near = difflib.get_close_matches(name, NAMES, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(NAMES)}, or module:attr"
    raise ConfigError(f"no kind of variant called {name!r}", hint=hint)


def _levels(text: str, tail: str) -> tuple[float, ...]:
    try:
        levels = tuple(sorted({float(piece) for piece in tail.split(",")}))
    except ValueError:
        levels = (math.nan,)
    if not all(0.0 < level < 1.0 for level in levels):
        raise ConfigError(
            f"variant {text!r}: levels must be numbers between 0 and 1, separated by commas"
        )
    return levels


def sparsity_levels(asked: Sequence[Asked]) -> dict[str, list[float]]:
    """Scorer → ascending levels over all kinds that use its nested codes."""
    found: dict[str, set[float]] = {}
    for one in asked:
        if one.kind.scorer and one.levels:
            found.setdefault(one.kind.scorer, set()).update(one.levels)
    return {scorer: sorted(levels) for scorer, levels in sorted(found.items())}


def group_scorers(asked: Sequence[Asked]) -> set[str]:
    """Scorers of N:M patterns, whose scores are computed when a variant is built."""
    return {one.kind.by for one in asked if isinstance(one.kind, NofM)}


def update_patterns(asked: Sequence[Asked]) -> list[Pattern]:
    """Patterns of which any kind needs updated weights, each once."""
    found: dict[Pattern, None] = {}
    for one in asked:
        if hasattr(one.kind, "updates"):
            found |= dict.fromkeys(one.kind.updates(one.levels))
    return list(found)


def sites(places: Sequence[Place], library: Library, asked: Sequence[Asked]) -> list[Site]:
    """Every place with its variants: dense, then from the largest to the smallest.

    Raises:
        ConfigError: A kind applies nowhere, or two variants of a site have one name.
    """
    used: set[int] = set()
    found = []
    for place in places:
        choices: list[Variant] = []
        for i, one in enumerate(asked):
            more = one.kind.variants(place, library, one.levels)
            used |= {i} if more else set()
            choices += more
        names = [v.name for v in choices]
        if len(set(names)) != len(names):
            raise ConfigError(f"site {place.name} was given two variants of one name: {names}")
        choices.sort(key=lambda v: (-v.cost.params, -v.cost.macs, v.name))
        found.append(Site(place, (dense(place), *choices)))
    for i, one in enumerate(asked):
        if i not in used:
            raise ConfigError(
                f"variant kind {one.kind.name!r} applies to no site of kind {places[0].kind!r}",
                hint="choose other sites (submodule, linear, block) or other variants",
            )
    return found


def dense(place: Place) -> Variant:
    """The untouched choice."""
    return Variant("dense", "dense", place.cost(), _unchanged)


def _unchanged() -> Replacements:
    return {}
