"""Commands that look for what is wrong: check, doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..config import Ref, RunConfig
from ..errors import ConfigError
from ..live import aligned
from ..registry import build, build_problem, resolve
from .finding import Found, find
from .output import Flag, Words, say, say_json

Kind = Literal["problem", "operator", "algorithm", "objective"]


def check(
    ref: str,
    /,
    *,
    kind: Kind | None = None,
    problem: str | None = None,
    set_: Annotated[Words, Parameter(name="--set")] = (),
    n: int = 8,
    seed: int = 0,
    device: str = "cpu",
    json: Flag = False,
) -> int:
    """Try whether a problem, objective, operator or algorithm keeps its promises.

    Args:
        ref: An id or module:attr.
        kind: What it is; found out when not given.
        problem: For an objective: the problem whose batches it judges; the default one otherwise.
        set_: Setting of the problem as problem.NAME=VALUE; may be repeated.
        n: Candidates to try it on, 3 or more.
        seed: Root seed of the candidates.
        device: Where a problem judges.
        json: Write JSON.
    """
    if n < 3:
        raise ConfigError(f"--n must be at least 3, got {n}")
    # An objective may also be one that the problem offers, which no catalogue knows.
    named = kind == "objective"
    found = Found("objective", ref, ref, {}, None) if named else find(ref, kind)
    findings = _check(found, problem, set_, n=n, seed=seed, device=device)
    bad = [finding for finding in findings if not finding.ok]
    if json:
        items = [asdict(finding) for finding in findings]
        say_json({"ref": ref, "kind": found.kind, "ok": not bad, "findings": items})
        return 1 if bad else 0
    for finding in findings:
        detail = f": {finding.detail}" if finding.detail else ""
        say(f"  {'pass' if finding.ok else 'FAIL'}  {finding.item}{detail}")
    say(f"{found.kind} {ref}: {len(findings) - len(bad)} of {len(findings)} items hold")
    return 1 if bad else 0


def doctor(*, json: Flag = False) -> int:
    """Show versions, devices, which packages and command were found, and where runs go.

    Args:
        json: Write JSON.
    """
    from ..doctor import examine

    items = examine()
    bad = any(item.status == "bad" for item in items)
    if json:
        say_json({"ok": not bad, "items": [asdict(item) for item in items]})
        return 1 if bad else 0
    rows = [[i.topic, i.name, "" if i.status == "ok" else i.status, i.value] for i in items]
    for line, item in zip(aligned(rows, left=4), items, strict=True):
        say(line)
        if item.hint:
            say(f"      hint: {item.hint}")
    return 1 if bad else 0


def _check(found: Found, problem: str | None, settings: tuple[str, ...], **how: Any) -> list[Any]:
    from ..algorithms import CATALOGUE as ALGORITHMS
    from ..check import (
        check_algorithm,
        check_elsewhere,
        check_objective,
        check_operator,
        check_problem,
    )
    from ..evaluate.judges import find_objective
    from .searching import with_settings

    if found.kind in ("variant", "method"):
        raise ConfigError(
            f"{found.ref!r} is a {found.kind}, of which evo check knows no promises",
            hint="it tries problems, objectives, operators and algorithms",
        )
    if found.kind == "operator":
        operator = (
            build("operator", Ref(found.ref)) if isinstance(found.object, type) else found.object
        )
        return check_operator(operator, seed=how["seed"])
    if found.kind == "algorithm":
        named = found.ref if found.ref in ALGORITHMS else found.object
        own = resolve("algorithm", found.ref).settings
        tried = check_algorithm(named, seed=how["seed"], settings=own)
        return [*tried, *check_elsewhere(found.ref, seed=how["seed"])]
    name = found.ref if found.kind == "problem" else problem
    config = RunConfig() if name is None else RunConfig().override("problem.id", name)
    config = with_settings(config, settings)
    built = build_problem(config)
    if found.kind == "problem":
        return check_problem(built, **how, rebuild=lambda: build_problem(config))
    objective = find_objective(built, {o.name: o for o in built.objectives}, Ref(found.ref))
    return check_objective(objective, built, **how)
