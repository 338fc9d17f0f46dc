"""The command that builds a chosen candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig
from ..errors import ConfigError, StoreError
from ..live import number, valued
from ..provenance import changes, fingerprints
from ..registry import build_problem
from ..view import RunView, read_run
from . import polishing
from .choosing import pick
from .output import Flag, Words, run_folder, say, say_json, tell


def export(
    run: str,
    candidate: str,
    /,
    *,
    to: Path,
    where: Words = (),
    polish: Flag = False,
    json: Flag = False,
) -> None:
    """Build one candidate of a run on disk: a saved model, a seed list, a rule.

    Args:
        run: Folder of the run, or its name in the folder of runs.
        candidate: An id from evo front, knee (best usable compromise), best:OBJECTIVE, or
            weights:OBJECTIVE=2,OBJECTIVE=1 (nearest pseudo-weights).
        to: Folder to write; it must not exist or be empty.
        where: Choose only among candidates within a limit such as "params < 12e6"; may be repeated.
        polish: Make the chosen variants again on the pruned prefix, and keep that if it is better.
        json: Write what was built as JSON.
    """
    view = read_run(run_folder(run))
    row = pick(view, candidate, where)
    refuse_taken(to)
    problem = exporter(view)
    _warn_changed(view, problem)
    values = dict(
        zip([c.name for c in view.columns], view.candidates.values[row].tolist(), strict=True)
    )
    expected = expected_of(view, row)
    chosen = int(view.candidates.id[row])
    told = ", ".join(
        f"{c.name} {valued(values[c.name], c.name, c.unit)}" for c in view.columns if c.searched
    )
    tell(f"candidate {chosen}: {told}")
    genomes, polished = view.candidates.genomes.take([row]), None
    if polish:
        problem, genomes, polished = polishing.polish(problem, genomes)
        if polished["kept"]:
            expected = {polished["objective"]: polished["search"]["after"]}
    built = problem.export(genomes, to, expected=expected)
    if json:
        facts = {"run": str(view.folder), "id": chosen, "to": str(to), "built": dict(built)}
        say_json(facts if polished is None else facts | {"polish": polished})
    else:
        say([str(to), *(f"  {key}: {_short(value)}" for key, value in dict(built).items())])


def exporter(view: RunView) -> Any:
    """The problem of a run, which can build its candidates.

    Raises:
        ConfigError: It builds nothing.
    """
    problem: Any = build_problem(RunConfig.from_mapping(view.meta["config"]))
    if not callable(getattr(problem, "export", None)):
        raise ConfigError(f"problem {_problem_name(view)!r} builds nothing, so it cannot export")
    return problem


def expected_of(view: RunView, row: int) -> dict[str, float]:
    """What a candidate was judged to be, by objective and metric; values not known are left out."""
    values = view.candidates.values[row].tolist()
    pairs = zip([c.name for c in view.columns], values, strict=True)
    return {name: value for name, value in pairs if np.isfinite(value)}


def refuse_taken(to: Path) -> None:
    """Raise unless something may be built in the folder; nothing is built before.

    Raises:
        StoreError: It is a file, or not empty.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StoreError(f"{str(to)!r} exists already and is not an empty folder", "name another")


def _warn_changed(view: RunView, problem: Any) -> None:
    """Say so when the problem stands on other data than the run did."""
    moved = changes(view.meta.get("problem") or {}, fingerprints(problem))
    if moved:
        tell(f"evo: warning: since the run there changed: {', '.join(moved)}; values may differ")


def _problem_name(view: RunView) -> str:
    return str(RunConfig.from_mapping(view.meta["config"]).problem.id or "default")


def _short(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
