"""Which runs belong together: those of equal configuration, seeds set aside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..store import RunView


def groups(views: Sequence[RunView]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Runs of equal configuration, seeds set aside; named after the settings that differ."""
    flat = [_flatten(view.meta.get("config") or {}) for view in views]
    for settings in flat:
        settings.pop("seed", None)
    keys = sorted({key for settings in flat for key in settings})
    differing = [k for k in keys if len({settings.get(k) for settings in flat}) > 1]
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, settings in enumerate(flat):
        groups.setdefault(tuple(settings.get(k, "–") for k in differing), []).append(i)
    first = flat[0].get("algorithm.id", "search")
    return tuple(
        (_label(differing, key) or str(first).strip('"'), tuple(members))
        for key, members in groups.items()
    )


def _label(keys: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(keys, (value.strip('"') for value in values), strict=True)
    return ", ".join(v if k in ("algorithm.id", "problem.id") else f"{k} = {v}" for k, v in pairs)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            out |= _flatten(value, f"{prefix}{key}.")
        else:
            out[prefix + str(key)] = json.dumps(value, sort_keys=True)
    return out
