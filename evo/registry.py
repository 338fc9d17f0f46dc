"""Ids, ``module:attr`` references and plug-ins: from a name to the thing it names."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from .config import DEFAULT_PROBLEM, ProblemConfig, Ref, RunConfig
from .errors import ConfigError, RegistryError
from .problem import Objective, Problem
from .suggest import did_you_mean

KINDS = ("problem", "objective", "operator", "algorithm", "variant", "method")
GROUP = "evo.plugins"
MODULE = "module"  # owner of a reference that names its target itself

_EXPECTED = {
    "problem": "name a class, or an object, that has space, objectives, constraints and batch",
    "objective": "decorate the function with @evo.objective(name, goal=...), or annotate one "
    "that makes one with -> evo.Objective",
    "operator": "name a frozen dataclass whose call takes arrays, bounds and a generator",
    "method": "name a frozen dataclass that is called with a problem, a sparsity and a generator",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the registry.

    Args:
        ref: The id, or the ``module:attr`` it was asked by.
        target: ``module:attr``.
        settings: Fixed settings of the row.
        owner: The plug-in that brought it.
    """

    ref: str
    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""


def listing(kind: str) -> list[Entry]:
    """All ids of a kind, sorted; imports none of their targets.

    Raises:
        RegistryError: There is no such kind, a plug-in is broken, or two plug-ins claim one id.
    """
    if kind not in KINDS:
        raise RegistryError(f"there is no kind {kind!r}; kinds are {', '.join(KINDS)}")
    rows = _table()[kind]
    return [rows[ref] for ref in sorted(rows)]


def resolve(kind: str, ref: str) -> Entry:
    """The row behind an id, or a row made from ``module:attr``.

    Raises:
        RegistryError: The id is unknown (the nearest one is suggested), or the kind is.
    """
    entries = {e.ref: e for e in listing(kind)}
    if ref in entries:
        return entries[ref]
    if ":" in ref:
        return Entry(ref, ref, owner=MODULE)
    raise RegistryError(
        f"no {kind} called {ref!r}{did_you_mean(ref, entries)}",
        hint=f"evo list {kind}s shows what there is; module:attr names your own",
    )


def load(kind: str, ref: str) -> Any:
    """The object behind an id or ``module:attr``.

    Raises:
        RegistryError: The id is unknown, or its module or attribute cannot be found.
    """
    entry = resolve(kind, ref)
    name, _, attribute = entry.target.partition(":")
    if not name or not attribute:
        raise RegistryError(f"{kind} {ref!r} must be an id or of the form module:attr")
    module = _import(kind, ref, name)
    found: Any = module
    for step in attribute.split("."):
        if not hasattr(found, step):
            near = did_you_mean(step, (n for n in dir(found) if not n.startswith("_")))
            raise RegistryError(f"module {name!r} has no {attribute!r}{near}")
        found = getattr(found, step)
    return found


def build(kind: str, ref: Ref) -> Any:
    """Call the target with the settings of its row, overridden by those of ``ref``.

    A target that is no class and no function, such as a finished objective or operator, is returned
    as it is; then settings are an error. A ``module:attr`` may come out of a run file that somebody
    else wrote, so only what is meant to be such a thing is ever called.

    Raises:
        RegistryError: The reference leads nowhere, or to something of another kind.
        ConfigError: A setting is unknown or missing.
    """
    entry, target = resolve(kind, ref.id), load(kind, ref.id)
    if entry.owner == MODULE and not _meant_as(kind, target):
        found = f"the {type(target).__name__} {getattr(target, '__name__', repr(target)[:40])}"
        raise RegistryError(f"{ref.id!r} is no {kind}: it is {found}", hint=_EXPECTED.get(kind))
    return call(f"{kind} {ref.id!r}", target, {**entry.settings, **ref.settings})


def build_problem(config: RunConfig | ProblemConfig) -> Problem:
    """Build the configured problem.

    Raises:
        RegistryError: The reference leads nowhere, or what it names is no problem.
        ConfigError: A setting is unknown or missing.
    """
    chosen = config.problem if isinstance(config, RunConfig) else config
    ref = Ref(chosen.id or DEFAULT_PROBLEM, chosen.settings)
    problem = build("problem", ref)
    missing = [
        n for n in ("space", "objectives", "constraints", "batch") if not hasattr(problem, n)
    ]
    if missing:
        raise RegistryError(
            f"{ref.id!r} is no problem: it lacks {', '.join(missing)}",
            hint=f"evo check {ref.id} tells what a problem needs",
        )
    return cast(Problem, problem)


def call(what: str, target: Any, settings: Mapping[str, Any]) -> Any:
    """``target(**settings)``, with settings checked against its signature first.

    Raises:
        ConfigError: A setting is unknown (the nearest one is suggested) or missing.
    """
    if not _is_factory(target):
        if settings:
            raise ConfigError(f"{what} takes no settings, got {', '.join(settings)}")
        return target
    parameters = _parameters(target)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in settings:
            if key not in names:
                raise ConfigError(
                    f"{what} has no setting called {key!r}{did_you_mean(key, names)}",
                    hint=f"known settings: {', '.join(names) or 'none'}",
                )
    needed = {p.name for p in parameters if p.default is p.empty and p.name in names}
    if needed - set(settings):
        raise ConfigError(f"{what} needs the setting {sorted(needed - set(settings))[0]!r}")
    return target(**settings)


def _meant_as(kind: str, target: Any) -> bool:
    if kind == "problem":
        return hasattr(target, "batch")
    if kind in ("operator", "method"):
        return is_dataclass(target)
    if kind == "objective":
        returns = getattr(target, "__annotations__", {}).get("return")
        made = returns is Objective or str(returns).rpartition(".")[2] == "Objective"
        return isinstance(target, Objective) or (callable(target) and made)
    return callable(target)


def _is_factory(target: Any) -> bool:
    """Whether a target makes the thing, rather than being it: objectives are callable as well."""
    return inspect.isclass(target) or inspect.isroutine(target) or isinstance(target, partial)


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # some compiled callables have no signature
        return [inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)]


def _import(kind: str, ref: str, name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last, so that it never hides an installed package
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name.endswith(".py"):
            raise RegistryError(
                f"{kind} {ref!r} names a file, expected a module",
                hint=f"in the folder of the file: {Path(name).stem}:{ref.partition(':')[2]}",
            ) from error
        if name == missing or name.startswith(missing + "."):
            raise RegistryError(
                f"{kind} {ref!r}: there is no module called {missing!r}",
                hint="it must be installed or lie in the current folder",
            ) from error
        raise RegistryError(
            f"{kind} {ref!r} needs the package {missing!r}, which is not installed",
            hint=f"pip install {missing.partition('.')[0]}",
        ) from error
    except (ImportError, SyntaxError) as error:
        raise RegistryError(
            f"{kind} {ref!r}: module {name!r} cannot be imported: {error}"
        ) from error


@functools.cache
def _table() -> dict[str, dict[str, Entry]]:
    table: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
    for kind, entry in _rows():
        if kind not in table:
            raise RegistryError(f"plug-in {entry.owner!r} offers an unknown kind {kind!r}")
        other = table[kind].get(entry.ref)
        if other is not None:
            raise RegistryError(
                f"{kind} {entry.ref!r} is offered by both {other.owner!r} and {entry.owner!r}"
            )
        table[kind][entry.ref] = entry
    return table


def _rows() -> Iterator[tuple[str, Entry]]:
    for kind, name in (("operator", "operators"), ("algorithm", "evo.algorithms")):
        catalogue = importlib.import_module(name).CATALOGUE
        yield from ((kind, Entry(ref, target, owner=name)) for ref, target in catalogue.items())
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        owner = f"{point.dist.name if point.dist else '?'} ({point.value})"
        for kind, rows in _catalogue(point, owner).items():
            for ref, row in rows.items():
                target, settings = (row, {}) if isinstance(row, str) else row
                yield kind, Entry(ref, target, dict(settings), owner)


def _catalogue(point: EntryPoint, owner: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        module = sys.modules.get(point.module)
        place = getattr(module, "__file__", None) or getattr(module, "__path__", "nowhere")
        home = point.dist.locate_file("") if point.dist else "?"
        raise RegistryError(
            f"plug-in {owner} was installed in {home}, but its module {point.module!r} "
            f"was found in {place}: {error}",
            hint=f"a folder called {point.module.partition('.')[0]!r} may hide it",
        ) from error
