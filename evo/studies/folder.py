"""The folder of a study: its cells as JSON beside their runs, and how far each of them is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import RunConfig, differences
from ..errors import ConfigError, EvoError, StoreError
from ..folders import LOCK, replace_file
from ..schema import FILE
from ..view import read_standing
from .plan import Cell, Study

if TYPE_CHECKING:
    from .attempt import Event

RECORD = "study.json"
FAILURES = "failures.json"
_FREE = ("evaluator.workers ",)  # settings that a run may go on with another value of


@dataclass(frozen=True, slots=True)
class Found:
    """A cell of a study on disk.

    Args:
        problem: Name of the problem in the study.
        label: Algorithm, with its settings where there are some.
        seed: Root of the run's random streams.
        folder: Where its run lies, or will.
    """

    problem: str
    label: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Folder of the run below that of the study."""
        return self.folder.name

    @property
    def begun(self) -> bool:
        """Whether there is a run."""
        return (self.folder / FILE).is_file()


@dataclass(frozen=True, slots=True)
class State:
    """How far a cell is: ``"new"``, ``"begun"`` or ``"finished"``, and what it took so far."""

    state: str
    evaluations: int = 0
    seconds: float = 0.0


def record(study: Study, folder: Path) -> None:
    """Write down which cells a study has."""
    cells = [
        {"problem": c.problem, "label": c.label, "seed": c.seed, "run": c.name} for c in study.cells
    ]
    text = json.dumps({"format": 1, "name": study.name, "cells": cells}, indent=1)
    replace_file(folder / RECORD, text + "\n", "the record of the study")


def read_study(folder: str | Path) -> tuple[str, list[Found]]:
    """Name and cells of a recorded study.

    Raises:
        StoreError: There is no record, or it cannot be understood.
    """
    folder = Path(folder)
    try:
        data: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if data["format"] != 1:
            raise ValueError(f"its format is {data['format']!r}, not 1")
        cells = [
            Found(str(c["problem"]), str(c["label"]), int(c["seed"]), folder / _inside(c["run"]))
            for c in data["cells"]
        ]
        return str(data["name"]), cells
    except FileNotFoundError as error:
        raise StoreError(f"folder {str(folder)!r} holds no study") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the record of the study in {str(folder)!r} cannot be read: {error}",
            hint="evo study FILE.toml writes it again",
        ) from error


class Failures:
    """Which runs of a study failed when they were last tried, on disk for those who watch.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._why = folder / FAILURES, read_failures(folder)

    def hear(self, event: Event) -> None:
        """Write down a failure; forget it once the run is tried again."""
        before = dict(self._why)
        self._why.pop(event.cell.name, None)
        if event.kind == "failed":
            self._why[event.cell.name] = event.why
        if self._why != before:
            replace_file(self._file, json.dumps(self._why, indent=1) + "\n", "the failures")


def read_failures(folder: Path) -> dict[str, str]:
    """Why runs failed, by name; nothing where that is not recorded or cannot be read."""
    try:
        data: Any = json.loads((folder / FAILURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}


def states(study: Study, folder: Path) -> list[State]:
    """How far each cell is.

    Raises:
        ConfigError: A run was begun with another configuration.
        StoreError: The folder holds something else, or a run file is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"the study needs a folder, but {str(folder)!r} is a file")
    if (folder / FILE).is_file():
        raise StoreError(f"folder {str(folder)!r} holds a run; a study needs a folder of its own")
    if folder.is_dir() and not (folder / RECORD).exists():
        others = sorted(file.name for file in folder.iterdir() if file.name != LOCK)
        if others:
            raise StoreError(
                f"folder {str(folder)!r} holds no study but {others[0]!r}",
                hint="name a new folder for the study",
            )
    return [_state(cell, folder / cell.name) for cell in study.cells]


def check(study: Study, todo: Sequence[Cell]) -> None:
    """Build what the cells need, once per problem, algorithm and settings, and let go of it.

    Raises:
        EvoError: Something cannot be built, found or combined; the cell is named.
    """
    from ..configured import build_algorithm
    from ..evaluate import Judges, pick_device
    from ..registry import build_problem

    def key(cell: Cell) -> str:
        data = cell.config.to_mapping()
        return json.dumps([cell.problem, data["problem"]], sort_keys=True, default=str)

    groups: dict[str, dict[str, Cell]] = {}
    for cell in todo:
        groups.setdefault(key(cell), {}).setdefault(cell.label, cell)
    for group in groups.values():
        problem = None
        for cell in group.values():
            try:
                problem = problem or build_problem(cell.config)
                judges = Judges.of(problem, cell.config)
                suits = getattr(problem, "variation", None)
                build_algorithm(cell.config, problem.space, judges, None, variation=suits)
                pick_device(cell.config.evaluator.device)
            except EvoError as error:
                told = f"{cell.problem} {cell.label}: {error.message}"
                raise type(error)(told, error.hint) from error
        release = getattr(problem, "close", None)
        if callable(release):
            release()


def _state(cell: Cell, folder: Path) -> State:
    if not (folder / FILE).is_file():
        return State("new")
    standing = read_standing(folder)
    try:
        recorded = RunConfig.from_mapping(standing.meta["config"])
    except KeyError as error:
        raise StoreError(f"the run in {str(folder)!r} records no configuration") from error
    changed = [d for d in differences(recorded, cell.config) if not d.startswith(_FREE)]
    if changed:
        raise ConfigError(
            f"the run in {str(folder)!r} has another configuration: {'; '.join(changed)}",
            hint="name another --out for the changed study, or move that run away",
        )
    done = "finished" if standing.complete else "begun"
    return State(done, standing.evaluations, standing.seconds)


def _inside(name: Any) -> str:
    """A name that leads nowhere but into the folder of the study."""
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no name of a run")
    return name
