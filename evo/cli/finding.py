"""Finds out which kind of thing an id or ``module:attr`` names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, RegistryError
from ..problem import Objective
from ..registry import KINDS, listing, load, resolve
from ..suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Found:
    """A thing that was found.

    Args:
        kind: One of :data:`evo.registry.KINDS`.
        ref: What it was asked by.
        target: ``module:attr``.
        settings: Those its catalogue row carries.
        object: The thing itself, not called.
    """

    kind: str
    ref: str
    target: str
    settings: Mapping[str, Any]
    object: Any


def find(ref: str, kind: str | None = None) -> Found:
    """The thing behind an id or ``module:attr``.

    Args:
        ref: What to look for.
        kind: Where to look; found out when None.

    Raises:
        ConfigError: There is no such kind, or the kind of a ``module:attr`` cannot be told.
        RegistryError: Nothing has that name; the nearest id of any kind is suggested.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            f"there is no kind {kind!r}{did_you_mean(kind, KINDS)}",
            hint=f"kinds are {', '.join(KINDS)}",
        )
    tables = {k: {entry.ref for entry in listing(k)} for k in KINDS}
    kind = kind or next((k for k in KINDS if ref in tables[k]), None)
    if kind is None and ":" not in ref:
        known = [name for names in tables.values() for name in names]
        raise RegistryError(
            f"nothing is called {ref!r}{did_you_mean(ref, known)}",
            hint="evo list shows what there is; module:attr names your own",
        )
    loaded = load(kind or "problem", ref)
    entry = resolve(kind or "problem", ref)
    return Found(kind or kind_of(loaded, ref), ref, entry.target, entry.settings, loaded)


def namesakes(found: Found) -> list[str]:
    """Other kinds in which something has the same id."""
    return [k for k in KINDS if k != found.kind and found.ref in {e.ref for e in listing(k)}]


def kind_of(thing: Any, ref: str) -> str:
    """Problem, objective, operator, algorithm, variant or method, told by what the thing has.

    Raises:
        ConfigError: It could be anything.
    """
    if isinstance(thing, Objective):
        return "objective"
    if hasattr(thing, "batch"):
        return "problem"
    if hasattr(thing, "ask") and hasattr(thing, "tell"):
        return "algorithm"
    if hasattr(thing, "variants") and hasattr(thing, "levels"):
        return "variant"
    # A class is asked how its instances are called, an instance how it is itself.
    call = getattr(thing, "__call__", None) if inspect.isclass(thing) else thing  # noqa: B004
    names = list(inspect.signature(call).parameters) if callable(call) else []
    if names[-2:] == ["bounds", "rng"]:
        return "operator"
    if "n_objectives" in names:
        return "algorithm"
    if names[-3:] == ["problem", "sparsity", "rng"]:
        return "method"
    raise ConfigError(
        f"cannot tell what {ref!r} is", hint="say so, for example with --kind problem"
    )
