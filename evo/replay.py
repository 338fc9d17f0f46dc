"""Whether a run file can be replayed here, and what changed when it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import provenance
from .config import RunConfig, differences, load_config
from .errors import ReplayError, StoreError
from .evaluate import Judges
from .problem import Problem
from .schema import Layout, damaged
from .store import RunFile

NEEDED = ("config", "stop", "chunk", "describe", "device", "git", "host", "problem", "versions")
"""Settings without which a run cannot go on."""


def read_settings(file: RunFile) -> dict[str, Any]:
    """The settings of a run that is to go on.

    Raises:
        StoreError: One of them is missing.
    """
    meta = file.meta()
    missing = [name for name in NEEDED if name not in meta]
    if missing:
        raise damaged(file.folder, f"its settings lack {', '.join(missing)}")
    return meta


def check_recorded(
    file: RunFile, meta: Mapping[str, Any], config: RunConfig, problem: Problem, judges: Judges
) -> None:
    """Raise unless configuration, problem, genomes and objectives are those of the log.

    Raises:
        ReplayError: What changed is named; nothing in the run is touched.
        StoreError: The genomes of the problem have another layout.
    """
    warm = f"evo resume {file.folder} --warm-start begins a new run from the recorded front"
    given = file.folder / "config.toml"
    edits = differences(config, load_config(given)) if given.exists() else []
    if edits:
        raise ReplayError(
            f"config.toml was edited since the run began: {'; '.join(edits)}",
            hint=f"undo the edit, or {warm}; --generations +N extends a run",
        )
    now = provenance.fingerprints(problem)
    moved = provenance.changes(meta["problem"], now, complete=True)
    if moved:
        raise ReplayError(
            f"the problem is not the one recorded: {'; '.join(moved)}",
            hint=f"bring back what changed, or {warm}",
        )
    if Layout.of(problem.space) != file.layout:
        raise StoreError(
            f"the recorded genomes have the parts {_facts(file.layout)}, those of the problem are "
            f"{_facts(Layout.of(problem.space))}",
            hint=warm,
        )
    for old, new in zip(file.columns, judges.columns, strict=True):
        if old != new:
            raise ReplayError(f"objective {old.name!r} was {old}, is {new}", hint=warm)


def what_changed(meta: Mapping[str, Any], problem: Problem, device: str | None = None) -> str:
    """What differs between the machine that wrote the log and this one, as one clause."""
    moved = provenance.changes(meta["versions"], provenance.versions())
    moved += provenance.changes(meta["problem"], provenance.fingerprints(problem))
    moved += provenance.changes(meta["host"], provenance.machine())
    moved += provenance.changes({"source": meta["git"]}, {"source": provenance.source_commit()})
    if device is not None:
        moved += provenance.changes({"device": meta["device"]}, {"device": device})
    if not moved:
        return "no version, source or machine changed since the run began"
    return f"since the run began there changed: {', '.join(moved)}"


def _facts(layout: Layout) -> str:
    parts = (
        (name, kind, length, np.dtype(dtype).name) for name, kind, length, dtype in layout.parts
    )
    return ", ".join(f"{name} ({kind}, {length} × {dtype})" for name, kind, length, dtype in parts)
