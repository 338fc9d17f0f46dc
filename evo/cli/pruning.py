"""The command that prunes a model with one method to one sparsity."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from ..config import ProblemConfig, Ref, RunConfig, parse_value
from ..errors import ConfigError, RegistryError
from ..genomes import Genomes
from ..live import aligned, arrow, duration, number, valued
from ..problem import Context
from ..registry import build, build_problem, load
from ..streams import stream
from . import polishing
from .building import refuse_taken
from .output import Flag, Words, say, say_json, tell
from .searching import with_settings

EMBEDDED = "default"
"""Stands for the embedded sentence encoder."""

PROBLEM = "prune/mixed"
SPLITS = ("search", "validation")
WHO = ("dense", "pruned")
_MEASURED = "latency"
Values = dict[str, dict[str, dict[str, float]]]  # split → candidate → objective → value


def prune(
    model: str,
    /,
    *,
    method: str,
    sparsity: float,
    to: Path | None = None,
    set_: Annotated[Words, Parameter(name="--set")] = (),
    seed: int = 0,
    device: str = "auto",
    polish: Flag = False,
    json: Flag = False,
) -> None:
    """Prune a model with one method, judge the outcome, and write it as a model that loads.

    Args:
        model: A folder, a hub name, or default for the embedded sentence encoder.
        method: Id, see evo list methods; or module:attr.
        sparsity: Share to remove, between 0 and 1; of the blocks' linear weights for most methods.
        to: Folder to write; it must not exist or be empty. Without it the outcome is only judged.
        set_: Setting as problem.NAME=VALUE or method.NAME=VALUE; may be repeated.
        seed: Root of every random stream.
        device: Where to judge: auto, cpu, cuda:0.
        polish: Make what was chosen again on the pruned prefix, and keep that if it is better.
        json: Write what was found and built as JSON.
    """
    if not 0.0 < sparsity < 1.0:
        raise ConfigError(
            f"--sparsity must be a share between 0 and 1, got {sparsity:g}",
            hint="--sparsity 0.25 removes a quarter",
        )
    if seed < 0:
        raise ConfigError(f"--seed must be a whole number of at least 0, got {seed}")
    if to is not None:
        refuse_taken(to)
    own, others = _split(set_)
    chosen = _method(method, own)
    problem = _problem(model, others, device)
    used = {f.name: getattr(chosen, f.name) for f in fields(chosen)}
    facts = {"model": problem.pretrained.name, "method": method, "settings": used, "seed": seed}
    facts |= _pruned(problem, chosen, facts, sparsity)
    outcome = facts.pop("outcome")
    if polish:
        outcome, facts["polish"] = _polished(outcome, seed)
    facts |= _judged(outcome, seed)
    facts |= {"to": None if to is None else str(to), "built": _built(outcome, facts, to)}
    say_json(facts) if json else say(_lines(facts, outcome.problem))


def _split(words: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings of the method, and the words for everything else."""
    own: dict[str, Any] = {}
    others = []
    for word in words:
        name, equals, value = word.partition("=")
        head, dot, rest = name.strip().partition(".")
        if head == "method" and dot and rest and equals:
            own[rest] = parse_value(value.strip())
        elif head != "problem" or rest in ("", "id", "model"):
            raise ConfigError(
                f"--set takes settings of the text or the method here, got {word!r}",
                hint="for example --set problem.length=128 or --set method.alpha=2",
            )
        else:
            others.append(word)
    return own, tuple(others)


def _method(name: str, settings: Mapping[str, Any]) -> Any:
    """The method, with its settings checked against its fields and their types.

    Raises:
        RegistryError: There is no such method, or it is something else.
        ConfigError: A setting is unknown, or of another type.
    """
    target = load("method", name)
    defaults = {f.name: f.default for f in fields(target)} if is_dataclass(target) else {}
    read = {key: _typed(name, key, v, defaults.get(key)) for key, v in settings.items()}
    return build("method", Ref(name, read))


def _typed(method: str, key: str, value: Any, default: Any) -> Any:
    """A setting of the type of its default; whole numbers are numbers, lists are tuples."""
    if isinstance(value, list):
        value = tuple(value)
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    wanted = next((kind for kind in kinds if isinstance(default, kind)), None)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is not None and type(value) is not wanted:
        raise ConfigError(
            f"{key} of method {method!r} must be {kinds[wanted]}, got {value!r}",
            hint=f"evo show {method}",
        )
    return value


def _problem(model: str, words: tuple[str, ...], device: str) -> Any:
    """The pruning problem on a model, on its device."""
    from ..evaluate import pick_device

    # Methods bring their own variants; removal fits every model.
    base = RunConfig.from_mapping({"problem": {"id": PROBLEM, "variants": ["removal"]}})
    settings = dict(with_settings(base, words).problem.settings)
    tell(f"reading {model}")
    settings["model"] = None if model == EMBEDDED else model
    problem: Any = build_problem(ProblemConfig(PROBLEM, settings))
    problem.sweep(pick_device(device))  # the model moves there
    return problem


def _pruned(problem: Any, method: Any, facts: Mapping[str, Any], sparsity: float) -> dict[str, Any]:
    """What the method chose: the outcome and how it came about."""
    tell(f"choosing with {facts['method']} for a sparsity of {number(sparsity)}")
    start = time.perf_counter()
    outcome = method(problem, sparsity, stream(facts["seed"], "prune", facts["method"]))
    seconds = time.perf_counter() - start
    wanted = ("problem", "choices", "tokens", "sparsity")
    missing = [name for name in wanted if not hasattr(outcome, name)]
    if missing:
        raise RegistryError(
            f"method {facts['method']!r} gave a {type(outcome).__name__} without {missing[0]!r}",
            hint="a method gives problems.pruning.methods.Outcome",
        )
    tell(f"chose in {duration(seconds)}, {number(outcome.tokens)} tokens through whole models")
    notes = list(getattr(outcome, "notes", ()))
    for note in notes:
        tell(f"note: {note}")
    realised = {"requested": sparsity, "realised": float(outcome.sparsity)}
    return {
        "outcome": outcome, "sparsity": realised, "tokens": int(outcome.tokens),
        "seconds": seconds, "notes": notes,
    }  # fmt: skip


def _polished(outcome: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    genome = Genomes({"choices": np.asarray(outcome.choices)[None]})
    problem, genome, facts = polishing.polish(outcome.problem, genome, seed)
    return replace(outcome, problem=problem, choices=genome["choices"][0]), facts


def _judged(outcome: Any, seed: int) -> dict[str, Any]:
    """Values of the dense and the pruned model on both splits, and their measured latency."""
    problem, row = outcome.problem, np.asarray(outcome.choices)
    genomes = Genomes({"choices": np.stack([np.zeros_like(row), row])})
    device = str(problem.pretrained.device)
    values: Values = {}
    for split in SPLITS:
        tell(f"judging on {split} text")
        batch = problem.batch(genomes, Context(device, seed, split=split))  # type: ignore[arg-type]
        found = {o.name: o(batch) for o in problem.objectives if o.name != _MEASURED}
        values[split] = {
            who: {name: float(v[i]) for name, v in found.items()} for i, who in enumerate(WHO)
        }
    tell("measuring latency of whole models")
    latency = problem.confirm(genomes, {_MEASURED: None})[_MEASURED].tolist()
    sites = problem.table.sites
    chosen = {s.name: s.variants[v].name for s, v in zip(sites, row.tolist(), strict=True)}
    return {
        "values": values, "latency_ms": dict(zip(WHO, latency, strict=True)),
        "choices": chosen,
    }  # fmt: skip


def _built(outcome: Any, facts: Mapping[str, Any], to: Path | None) -> dict[str, Any] | None:
    """The exported model, opened again in a new process and found to give the same values."""
    if to is None:
        return None
    tell(f"writing {to}, and judging it again in a new process")
    values = facts["values"]["search"]["pruned"]
    expected = {name: value for name, value in values.items() if np.isfinite(value)}
    genome = Genomes({"choices": np.asarray(outcome.choices)[None]})
    return dict(outcome.problem.export(genome, to, expected=expected))


def _lines(facts: Mapping[str, Any], problem: Any) -> list[str]:
    """The result for people: what was asked and reached, dense → pruned, what was written."""
    realised = facts["sparsity"]
    head = f"{facts['method']} on {facts['model']} · sparsity {realised['realised']:.4f} of "
    lines = [
        f"{head}{number(realised['requested'])} asked",
        *aligned(_table(facts, problem), left=1),
    ]
    lines.append(f"  chosen in {duration(facts['seconds'])} with {number(facts['tokens'])} tokens")
    built = facts["built"]
    if built is None:
        return [*lines, "  nothing was written; --to DIR writes the model"]
    size = f"{number(built['dense_bytes'], 'B')} → {number(built['bytes'], 'B')}"
    return [*lines, f"{facts['to']}  {size}", f"  {built['load']}"]


def _table(facts: Mapping[str, Any], problem: Any) -> list[list[str]]:
    """Rows of dense and pruned values; those on validation text where they are other ones."""
    rows = [["", *WHO, *WHO, "(validation text)"]]
    for one in problem.objectives:
        if one.name == _MEASURED:
            cells = [number(facts["latency_ms"][who], "ms") for who in WHO]
        else:
            seen, unseen = (_cells(facts["values"][split], one) for split in SPLITS)
            cells = seen + unseen if _depends_on_text(facts["values"], one.name) else seen
        rows.append([f"{one.name} {arrow(one.goal)}", *cells, *[""] * (5 - len(cells))])
    return rows


def _cells(values: Mapping[str, Mapping[str, float]], objective: Any) -> list[str]:
    name, unit = objective.name, objective.unit
    return [valued(values[who][name], name, unit) for who in WHO]


def _depends_on_text(values: Values, name: str) -> bool:
    seen, unseen = (values[split] for split in SPLITS)
    return any(seen[who][name] != unseen[who][name] for who in WHO)
