"""Kinds of choices, one file each; every kind maps a place and its levels to variants.

A kind is an object with ``levels`` (the default ones), ``scorer`` (or None) and ``variants(place,
library, levels)``, which returns nothing where it does not apply. One that learns from calibration
text has ``fit(calibration)``, which gives tensors by name, at once or piece by piece; the library
keeps them and hands them back with ``library.fitted(kind)``. One that takes updated weights from
the library says of which patterns in ``updates(levels)``. The built-in ones are rows of the
registry, and anyone's ``module:attr`` may stand where their names may.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from evo.errors import ConfigError
from evo.registry import listing, load
from evo.suggest import did_you_mean

from .. import brackets
from ..importance import SCORERS, base_name
from ..importance.sparsegpt import Pattern
from ..library import Library
from ..sites import Place, Replacements, Site, Variant
from .n_of_m import n_of_m_kind
from .sparsity import kind_of_scorer


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


def parse(text: Any) -> Asked:
    """Read ``width``, ``width@0.75,0.5``, ``wanda@0.5``, ``2:4``, ``2:4@wanda`` or ``module:attr``.

    Settings stand in brackets behind a name: ``2:4(permute=true)@ria(exponent=1)``. A kind itself
    may stand where its name may, and then has its own levels.

    Raises:
        ConfigError: Unknown kind, or levels that are not numbers between 0 and 1.
    """
    if isinstance(text, Asked):
        return text
    if hasattr(text, "variants"):
        return Asked(text, tuple(text.levels))
    name, _, tail = str(text).partition("@")
    pattern, settings = brackets.split(name)
    left, colon, right = pattern.partition(":")
    if colon and left.isdigit() and right.isdigit():
        return Asked(n_of_m_kind(int(left), int(right), tail or "wanda", settings), ())
    kind = _named(name)
    levels = _levels(text, tail) if tail else tuple(kind.levels)
    return Asked(kind, levels)


def names() -> list[str]:
    """Every built-in name."""
    rows = [entry.ref for entry in listing("variant") if ":" not in entry.ref]
    return [*(row for row in rows if row not in SCORERS), *SCORERS, "N:M"]


def _named(text: str) -> Any:
    """The kind behind a name, with settings in brackets where it has fields."""
    if base_name(text) in SCORERS:
        return kind_of_scorer(text)
    name, settings = brackets.split(text)
    if ":" not in name and name not in {entry.ref for entry in listing("variant")}:
        known = names()
        near = did_you_mean(name, known).removeprefix("; ")
        raise ConfigError(
            f"no kind of variant called {text!r}",
            hint=near or f"known: {', '.join(known)}, or module:attr",
        )
    kind = load("variant", name)
    kind = kind() if isinstance(kind, type) else kind
    return kind if settings is None else _with_settings(kind, name, settings)


def _with_settings(kind: Any, name: str, text: str) -> Any:
    """A kind with some of its fields changed, as in ``subfit(attention_rank=0.25)``."""
    hidden = ("name", "levels", "scorer")
    changed = brackets.read(f"variant {name!r}", kind, text, hidden)
    return replace(kind, name=f"{name}({text})", **changed)


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
    """Scorers of kinds that compute scores when a variant is built, which say so in ``by``."""
    return {one.kind.by for one in asked if hasattr(one.kind, "by")}


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
        choices.sort(key=lambda v: (-v.cost.params, -v.cost.macs, -v.cost.kv_bytes, v.name))
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
