"""The configuration of a run: frozen dataclasses, TOML in, canonical JSON and a fingerprint out."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .limits import check_limits, parse_limit
from .suggest import did_you_mean

DEFAULT_PROBLEM = "prune/mixed"
"""Searched when no problem is named."""

DEFAULT_GENERATIONS = 40
"""Planned generations when no limit at all is named."""

EMBEDDED: Mapping[str, Any] = {
    "baseline": True,
    "algorithm": {"population": 48},
    "stop": {"generations": 6},
    "problem": {"sizes": {"search": 40, "validation": 40}},
}
"""What `evo run` does without a target: minutes on two cores, baselines included."""

ALONE = ("random", "evopress", "greedy")  # algorithms that need no second parent
_LISTS = ("objectives", "metrics", "constraints")
_TABLES = ("problem", "algorithm", "stop", "evaluator")


@dataclass(frozen=True, slots=True)
class Ref:
    """An id or ``module:attr`` with its settings."""

    id: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def parse(value: Any, where: str) -> Ref:
        """A string, or a table whose ``id`` names the thing and whose other keys are its settings.

        Raises:
            ConfigError: Anything else.
        """
        if isinstance(value, Ref):
            return value
        if isinstance(value, str) and value.strip():
            return Ref(value.strip())
        if isinstance(value, Mapping) and isinstance(value.get("id"), str):
            return Ref(value["id"], {k: v for k, v in value.items() if k != "id"})
        raise ConfigError(f"{where} needs a name or a table with an id, got {value!r}")

    def to_value(self) -> Any:
        """The inverse of :meth:`parse`: a string, or a table when there are settings."""
        return {"id": self.id, **self.settings} if self.settings else self.id


@dataclass(frozen=True, slots=True)
class ProblemConfig:
    """What is searched; ``id=None`` means the embedded default problem."""

    id: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlgorithmConfig:
    """How it is searched; ``settings`` may hold crossover, mutation and sampling references."""

    id: str = "nsga2"
    population: int = 100
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _whole("algorithm.population", self.population, least=1)
        if self.population < 2 and self.id not in ALONE:
            raise ConfigError(
                f"algorithm {self.id!r} needs a population of at least 2, got {self.population}",
                hint="use a larger population, or algorithm random or evopress",
            )


@dataclass(frozen=True, slots=True)
class StopConfig:
    """When to stop: the first limit reached ends the search; without any, 40 generations.

    Args:
        generations: How many generations, the first one included.
        evaluations: How many candidates judged; checked between generations.
        minutes: Active minutes, summed over interruptions.
        stall: How many generations in a row may leave the hypervolume unchanged.
    """

    generations: int | None = None
    evaluations: int | None = None
    minutes: float | None = None
    stall: int | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, f.name) is None for f in fields(self)):
            object.__setattr__(self, "generations", DEFAULT_GENERATIONS)
        for name in ("generations", "evaluations", "stall"):
            if getattr(self, name) is not None:
                _whole(f"stop.{name}", getattr(self, name), least=1)
        minutes = self.minutes
        if minutes is not None:
            if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not minutes > 0:
                raise ConfigError(f"stop.minutes must be a number above 0, got {minutes!r}")
            object.__setattr__(self, "minutes", float(minutes))


@dataclass(frozen=True, slots=True)
class EvaluatorConfig:
    """How candidates are judged.

    Args:
        device: Where.
        chunk: How many at once; ``"auto"``: what memory allows.
        racing: Confidence with which a candidate must be beaten to be judged on a part of the data
            only, such as 0.99; 0 judges every candidate on all of it.
        memory: Gigabytes that the process may fill, files mapped into memory left out; chunks are
            planned to stay within it. 0 plans by half of the free memory. Each worker is a process.
        workers: Processes that judge; 0 judges in the process of the search.
        ray: Where Ray puts the workers: ``"local"`` for this machine, or a cluster's address as in
            ``ray.init``. Empty: processes of this machine, without Ray.
    """

    device: str = "auto"
    chunk: int | str = "auto"
    racing: float = 0.0
    memory: float = 0.0
    workers: int = 0
    ray: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.device, str) or not self.device:
            raise ConfigError(
                f"evaluator.device must be a name such as 'cpu' or 'cuda:0', got {self.device!r}"
            )
        if self.chunk != "auto":
            _whole("evaluator.chunk", self.chunk, least=1, words="'auto' or ")
        racing = self.racing
        if isinstance(racing, bool) or not isinstance(racing, int | float) or not 0 <= racing < 1:
            raise ConfigError(
                "evaluator.racing must be a confidence below 1 such as 0.99, or 0 for none, got "
                f"{racing!r}"
            )
        memory = self.memory
        if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory >= 0:
            raise ConfigError(
                "evaluator.memory must be gigabytes such as 2.5, or 0 for half of what is free, "
                f"got {memory!r}"
            )
        _whole("evaluator.workers", self.workers, least=0)
        if not isinstance(self.ray, str):
            raise ConfigError(
                f"evaluator.ray must be 'local' or the address of a cluster, got {self.ray!r}"
            )


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that decides what a run does.

    Args:
        problem: What is searched.
        objectives: What is searched for; empty means the default objectives of the problem.
        metrics: Recorded beside the objectives, not searched.
        constraints: Limits such as ``"params < 12e6"`` over anything the problem offers.
        seed: Root of every random stream.
        starts: Whether the warm starts of the problem join the first generation.
        baseline: Whether uniform, random and greedy baselines, and those of the problem, run after
            the search.
        validate: Whether the final front is judged again on data the search never saw.
        algorithm: How it is searched.
        stop: When to stop.
        evaluator: Where candidates are judged.
    """

    problem: ProblemConfig = field(default_factory=ProblemConfig)
    objectives: tuple[Ref, ...] = ()
    metrics: tuple[Ref, ...] = ()
    constraints: tuple[str, ...] = ()
    seed: int = 0
    starts: bool = True
    baseline: bool = False
    validate: bool = True
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)

    def __post_init__(self) -> None:
        _whole("seed", self.seed, least=0)
        for name in ("starts", "baseline", "validate"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}")
        check_limits([parse_limit(text) for text in self.constraints])

    @staticmethod
    def from_mapping(data: Mapping[str, Any]) -> RunConfig:
        """Build from the layout of the TOML file.

        Raises:
            ConfigError: A key is unknown, or a value has the wrong type or range.
        """
        known = [f.name for f in fields(RunConfig)]
        _only(data, known, "the configuration")
        values: dict[str, Any] = {k: v for k, v in data.items() if k not in _TABLES + _LISTS}
        for name in ("objectives", "metrics"):
            items = _list(data.get(name, []), name)
            values[name] = tuple(Ref.parse(v, f"an entry of {name}") for v in items)
        values["constraints"] = tuple(_texts(data.get("constraints", []), "constraints"))
        problem, algorithm = _named(data, "problem"), _named(data, "algorithm")
        values["problem"] = ProblemConfig(problem.pop("id", None), problem)
        head = {k: algorithm.pop(k) for k in ("id", "population") if k in algorithm}
        values["algorithm"] = AlgorithmConfig(**head, settings=algorithm)
        for name, kind in (("stop", StopConfig), ("evaluator", EvaluatorConfig)):
            table = _table(data, name)
            _only(table, [f.name for f in fields(kind)], f"[{name}]")
            values[name] = kind(**table)
        return RunConfig(**values)

    def to_mapping(self) -> dict[str, Any]:
        """The layout of the TOML file; ``from_mapping`` of it gives an equal configuration."""
        stop = {f.name: getattr(self.stop, f.name) for f in fields(self.stop)}
        if self.stop == StopConfig():
            stop = {}  # so that naming another limit later replaces the default one
        return {
            "objectives": [ref.to_value() for ref in self.objectives],
            "metrics": [ref.to_value() for ref in self.metrics],
            "constraints": list(self.constraints),
            "seed": self.seed,
            "starts": self.starts,
            "baseline": self.baseline,
            "validate": self.validate,
            "problem": _drop_none({"id": self.problem.id, **self.problem.settings}),
            "algorithm": {
                "id": self.algorithm.id,
                "population": self.algorithm.population,
                **self.algorithm.settings,
            },
            "stop": _drop_none(stop),
            "evaluator": _drop_zero(asdict(self.evaluator), "racing", "memory", "workers", "ray"),
        }

    def override(self, path: str, value: Any) -> RunConfig:
        """A copy in which the setting ``a.b`` has another value.

        Args:
            path: Dotted name, e.g. ``"algorithm.population"``.
            value: A TOML value as text (bare words are strings), or the value itself; ``"none"``
                removes the key.

        Raises:
            ConfigError: The path leads nowhere, or the value does not fit.
        """
        data = self.to_mapping()
        *tables, last = path.split(".")
        where: Any = data
        for name in tables:
            if name not in where and where is data:
                _only({name: None}, [f.name for f in fields(RunConfig)], "the configuration")
            where = where.setdefault(name, {})
            if not isinstance(where, dict):
                raise ConfigError(f"cannot set {path!r}: {name!r} is not a table")
        value = parse_value(value) if isinstance(value, str) else value
        if isinstance(where.get(last), dict) and isinstance(value, str):
            value = {**where[last], "id": value}
        if path in _LISTS and isinstance(value, str):
            value = [value]
        if value is None or value == "none":
            where.pop(last, None)
        else:
            where[last] = value
        return RunConfig.from_mapping(data)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; equal configurations give equal text."""
        try:
            return json.dumps(
                self.to_mapping(), sort_keys=True, separators=(",", ":"), allow_nan=False
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"a setting cannot be written as JSON: {error}") from error

    def to_toml(self) -> str:
        """The configuration as a TOML file."""
        data = self.to_mapping()
        lines = [f"{k} = {_toml(v)}" for k, v in data.items() if not isinstance(v, dict)]
        for name, table in data.items():
            if isinstance(table, dict) and table:
                lines += ["", f"[{name}]", *(f"{_key(k)} = {_toml(v)}" for k, v in table.items())]
        return "\n".join(lines) + "\n"

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the canonical JSON."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()


def load_config(path: str | Path) -> RunConfig:
    """Read a TOML file.

    Raises:
        ConfigError: The file is missing, unreadable, not TOML, or holds an illegal setting.
    """
    return RunConfig.from_mapping(read_toml(path))


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file as a mapping.

    Raises:
        ConfigError: The file is missing, unreadable or not TOML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {str(path)!r}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {str(path)!r} cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}") from error


def parse_value(text: str) -> Any:
    """A TOML value from text; what is not TOML is a string, so that bare words need no quotes."""
    if "\n" in text or "\r" in text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """Sentences such as ``algorithm.population was 100, is 50``, one per differing key."""
    before, after = _flatten(old.to_mapping()), _flatten(new.to_mapping())
    return [
        f"{key} was {before.get(key, 'not set')}, is {after.get(key, 'not set')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _drop_zero(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in keys or v}


def _flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{k}": v for k, v in value.items()}
        else:
            flat[key] = value
    return flat


def _whole(name: str, value: Any, *, least: int, words: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"{name} must be {words}a whole number of at least {least}, got {value!r}"
        )


def _only(data: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in data:
        if key not in known:
            raise ConfigError(
                f"{where} has no setting called {key!r}{did_you_mean(key, known)}",
                hint=f"known settings: {', '.join(known)}",
            )


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{name} must be a table, got {table!r}")
    return dict(table)


def _named(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    table = {"id": table} if isinstance(table, str) else _table(data, name)
    if "id" in table and not (isinstance(table["id"], str) and table["id"]):
        raise ConfigError(f"{name}.id must be a name, got {table['id']!r}")
    return table


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"{name} must be a list, got {value!r}")
    return list(value)


def _texts(value: Any, name: str) -> list[str]:
    items = _list(value, name)
    for item in items:
        if not isinstance(item, str):
            raise ConfigError(f"every entry of {name} must be text, got {item!r}")
    return items


def _drop_none(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in data.items() if v is not None}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool | int) else repr(value)
