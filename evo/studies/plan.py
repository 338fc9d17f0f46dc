"""A study as a TOML file: problems × algorithms × settings × seeds, one run per cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..config import RunConfig, read_toml
from ..errors import ConfigError
from ..suggest import did_you_mean

_COMMON = tuple(f.name for f in fields(RunConfig) if f.name != "seed")
_KEYS = ("name", "problems", "algorithms", "settings", "seeds", *_COMMON)
_OWN = ("objectives", "metrics", "constraints", "stop")  # what a problem may have of its own
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+]*(-[A-Za-z0-9._+]+)*")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a study.

    Args:
        problem: Name of the problem in the study.
        algorithm: Name of the algorithm in the study.
        setting: Name of the settings; empty where a study has none.
        seed: Root of its random streams.
        config: Everything that decides what the run does.
    """

    problem: str
    algorithm: str
    setting: str
    seed: int
    config: RunConfig

    @property
    def label(self) -> str:
        """What is compared: the algorithm, with its settings where there are some."""
        return f"{self.algorithm} {self.setting}".rstrip()

    @property
    def name(self) -> str:
        """Folder of the run below that of the study."""
        parts = (self.problem, self.algorithm, self.setting, f"s{self.seed}")
        return "-".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Study:
    """All cells of a study, all those of one seed before those of the next."""

    name: str
    cells: tuple[Cell, ...]


def load_study(path: str | Path) -> Study:
    """Read a study file.

    Raises:
        ConfigError: The file is missing, unreadable, not TOML, or describes no study.
    """
    return study_from(read_toml(path), Path(path).stem)


def study_from(data: Mapping[str, Any], name: str) -> Study:
    """Build a study from the layout of its file.

    ``problems`` and ``algorithms`` are lists of ids, or of tables with ``id``, settings and
    optionally a ``name``; ``settings`` maps names to tables laid out like a run's configuration;
    ``seeds`` is a number n (0 to n − 1) or a list. Whatever else a run's configuration may hold is
    common to all cells. Of two values for one key the later counts, in the order: common, problem,
    algorithm, settings.

    Args:
        data: The tables.
        name: What the study is called unless it says so itself.

    Raises:
        ConfigError: A key is unknown, a name is illegal or used twice, or a list is empty.
    """
    for key in data:
        if key not in _KEYS:
            hint = f"a study has {', '.join(_KEYS)}"
            raise ConfigError(f"a study has no {key!r}{did_you_mean(key, _KEYS)}", hint=hint)
    name = _legal(data.get("name", name), "the study")
    problems = _named(data.get("problems"), "problem")
    algorithms = _named(data.get("algorithms"), "algorithm")
    settings = _settings(data.get("settings", {}))
    common = {k: v for k, v in data.items() if k in _COMMON}
    for table in ("problem", "algorithm"):
        if isinstance(common.get(table), str) or "id" in common.get(table, {}):
            raise ConfigError(f"a study names its {table}s in the list {table}s, not in [{table}]")
    cells = [
        Cell(p, a, s, seed, _config((p, a, s), common, problem, algorithm, own, seed))
        for seed in _seeds(data.get("seeds", 1))
        for p, problem in problems.items()
        for a, algorithm in algorithms.items()
        for s, own in settings.items()
    ]
    _distinct([cell.name for cell in cells], "runs")
    return Study(name, tuple(cells))


def _config(
    names: tuple[str, str, str], common: Mapping[str, Any], problem: Mapping[str, Any],
    algorithm: Mapping[str, Any], own: Mapping[str, Any], seed: int,
) -> RunConfig:  # fmt: skip
    """The configuration of a cell.

    Raises:
        ConfigError: It is illegal; the cell is named.
    """
    mine = {k: v for k, v in problem.items() if k in _OWN}
    told = {"problem": {k: v for k, v in problem.items() if k not in _OWN}, **mine}
    layers: tuple[Mapping[str, Any], ...] = (told, {"algorithm": algorithm}, own)
    merged = dict(common)
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[key] = {**old, **value} if both else value  # type: ignore[dict-item]
    try:
        return RunConfig.from_mapping({**merged, "seed": seed})
    except ConfigError as error:
        cell = " ".join(filter(None, names))
        raise ConfigError(f"{cell}: {error.message}", hint=error.hint) from error


def _named(entries: Any, kind: str) -> dict[str, dict[str, Any]]:
    """Name → table of every problem or algorithm."""
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise ConfigError(
            f"a study needs a list of {kind}s, got {entries!r}",
            hint=f'for example {kind}s = ["{_EXAMPLE[kind]}"]',
        )
    names, tables = [], []
    for entry in entries:
        table = {"id": entry} if isinstance(entry, str) else entry
        if not isinstance(table, Mapping) or not isinstance(table.get("id"), str):
            raise ConfigError(f"a {kind} of a study needs an id, got {entry!r}")
        told = re.split(r"[/:]", table["id"])[-1]
        names.append(_legal(table.get("name", told), f"{kind} {table['id']!r}"))
        tables.append({k: v for k, v in table.items() if k != "name"})
    _distinct(names, f"{kind}s")
    return dict(zip(names, tables, strict=True))


_EXAMPLE = {"problem": "synthetic/zdt1", "algorithm": "nsga2"}


def _settings(tables: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(tables, Mapping):
        raise ConfigError(f"the settings of a study must be named tables, got {tables!r}")
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(
                f"settings {name!r} must be a table, got {table!r}",
                hint=f"for example [settings.{name}] with algorithm.population = 20",
            )
        if "seed" in table:
            raise ConfigError(f"settings {name!r} hold a seed; those of a study are in seeds")
        _legal(name, f"settings {name!r}")
    return dict(tables) or {"": {}}


def _seeds(told: Any) -> list[int]:
    """Zero to n − 1, or the seeds listed."""
    whole = isinstance(told, int) and not isinstance(told, bool)
    seeds = list(range(told)) if whole else told
    if not isinstance(seeds, list) or not seeds:
        raise ConfigError(f"seeds must be a number of at least 1, or a list, got {told!r}")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"every seed must be a whole number of at least 0, got {seed!r}")
    _distinct([str(seed) for seed in seeds], "seeds")
    return seeds


def _legal(name: Any, what: str) -> str:
    """A name that can be part of a folder's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what} cannot be called {name!r}",
            hint="name = takes letters, digits, dots, and dashes between them",
        )
    return name


def _distinct(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(
                f"two {what} of the study are called {name!r}",
                hint='give one of them another name, as in { name = "other", id = … }',
            )
        seen.add(name)
