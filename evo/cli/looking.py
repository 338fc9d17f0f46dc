"""Commands that look at what there is: list, show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..algorithms import Settings
from ..config import Ref, RunConfig
from ..errors import ConfigError, EvoError, StoreError
from ..folders import runs_home
from ..live import aligned, arrow, duration, number
from ..registry import build, listing
from ..schema import FILE
from ..suggest import did_you_mean
from ..view import RunView, read_run
from .describing import argument_docs, first_sentence, offered, settings_of
from .finding import Found, find, namesakes
from .output import Flag, Words, run_folder, say, say_json, tell

Row = dict[str, Any]

_OFFERS = ("starts", "ladder", "baselines", "confirm", "export")


def list_(kind: str | None = None, /, *, json: Flag = False) -> None:
    """List problems, objectives, operators, algorithms, methods, variants or runs, or all of them.

    Objectives that belong to one problem are shown by evo show PROBLEM.

    Args:
        kind: problems, objectives, operators, algorithms, methods, variants or runs.
        json: Write JSON.
    """
    if kind is not None and _plural(kind) not in LISTINGS:
        raise ConfigError(
            f"there is no kind {kind!r}{did_you_mean(kind, LISTINGS)}",
            hint=f"kinds are {', '.join(LISTINGS)}",
        )
    names = list(LISTINGS) if kind is None else [_plural(kind)]
    tables = {name: LISTINGS[name]() for name in names}
    if json:
        say_json(tables)
        return
    for i, (name, rows) in enumerate(tables.items()):
        lines = [*([""] if i else []), *([name] if kind is None else [])]
        say([*lines, *(_listed(rows) or [f"  none{_NOTES.get(name, '')}"])])


def show(
    ref: str,
    /,
    *,
    kind: str | None = None,
    set_: Annotated[Words, Parameter(name="--set")] = (),
    json: Flag = False,
) -> None:
    """Show what a problem, objective, operator, algorithm, method or variant is, or a run was.

    Args:
        ref: An id, module:attr, or the folder of a run.
        kind: What it is, where things of several kinds have one id; found out when not given.
        set_: Setting of a problem as problem.NAME=VALUE, to see it built that way; may be repeated.
        json: Write JSON.
    """
    folder = _as_run(ref) if kind is None else None
    if folder is not None:
        told = _run_facts(read_run(folder))
        say_json(told) if json else say(_run_lines(told))
        return
    found = find(ref, kind)
    facts = _facts(found, _problem_config(ref, set_))
    for other in [] if kind else namesakes(found):
        tell(f"evo: there is also a {other} called {ref!r}: evo show {ref} --kind {other}")
    say_json(facts) if json else say(_thing_lines(facts))


def _entries(kind: str) -> Callable[[], list[Row]]:
    def rows() -> list[Row]:
        return [
            {"id": e.ref, "target": e.target, "settings": dict(e.settings), "owner": e.owner}
            for e in listing(kind)
        ]

    return rows


def _runs() -> list[Row]:
    rows: list[Row] = []
    for file in sorted(runs_home().glob(f"*/{FILE}"), key=lambda f: (f.stat().st_mtime, f)):
        try:
            rows.append(_run_row(read_run(file.parent)))
        except StoreError as error:
            tell(f"evo: warning: {error.message}")
    return rows


LISTINGS: dict[str, Callable[[], list[Row]]] = {
    "problems": _entries("problem"),
    "objectives": _entries("objective"),
    "operators": _entries("operator"),
    "algorithms": _entries("algorithm"),
    "methods": _entries("method"),
    "variants": _entries("variant"),
    "runs": _runs,
}
"""Kind → what gives its rows; a new kind is a new line."""


_NOTES = {"objectives": "; those of a problem: evo show PROBLEM", "runs": " yet"}


def _plural(kind: str) -> str:
    return kind if kind in LISTINGS else f"{kind}s"


def _listed(rows: Sequence[Row]) -> list[str]:
    if rows and "id" in rows[0]:
        told = [[r["id"], r["target"], _settings_text(r["settings"])] for r in rows]
        return aligned(told, left=3)
    keys = ("run", "problem", "algorithm", "seed", "state", "generations", "evaluations")
    titles = ["run", "problem", "algorithm", "seed", "state", "gens", "evals", "front"]
    cells = [[str(r[k]) for k in (*keys, "front_size")] for r in rows]
    return aligned([titles, *cells], left=3) if rows else []


def _settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{k} = {v!r}" for k, v in settings.items())


def _as_run(ref: str) -> Path | None:
    """The folder when the reference is clearly a run: by its files, or as a path that has none."""
    for folder in (Path(ref), runs_home() / ref):
        if (folder / FILE).is_file():
            return folder
    return run_folder(ref) if Path(ref).is_dir() else None


def _problem_config(ref: str, settings: tuple[str, ...]) -> RunConfig:
    from .searching import with_settings

    return with_settings(RunConfig().override("problem.id", ref), settings)


def _facts(found: Found, config: RunConfig) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": found.ref, "kind": found.kind, "target": found.target,
        "about": first_sentence(found.object),
        "settings": settings_of(found.object, found.settings),
    }  # fmt: skip
    if found.kind == "problem":
        facts |= _problem_facts(config)
    if found.kind == "objective" and hasattr(found.object, "goal"):
        facts |= {"objectives": [_objective(found.object)], "settings": []}
    if found.kind == "algorithm":
        every = settings_of(Settings, {})
        facts["settings"] = [s for s in every if s["name"] not in ("seed", "generations", "extra")]
    if found.kind == "variant":
        facts |= _variant_facts(found)
    if found.kind == "operator":
        facts["genes"] = sorted(getattr(found.object, "kinds", ()))
    return facts


def _variant_facts(found: Found) -> dict[str, Any]:
    """What a kind of variant says of itself; its name and levels are no settings."""
    kind: Any = build("variant", Ref(found.ref))
    levels = list(kind.levels)
    # What a row was made with is no setting any more, and brackets cannot hold a tuple.
    own = [f.name for f in fields(kind)] if is_dataclass(kind) and not found.settings else []
    docs = argument_docs(kind)
    settings = [
        {
            "name": name,
            "required": False,
            "default": getattr(kind, name),
            "doc": docs.get(name, ""),
        }
        for name in own
        if name not in ("name", "scorer") and not isinstance(getattr(kind, name), tuple)
    ]
    return {"about": first_sentence(kind), "settings": settings, "levels": levels}


def _problem_facts(config: RunConfig) -> dict[str, Any]:
    """What only the built problem knows; why not, when it cannot be built."""
    from ..problem import Context, describe_part
    from ..registry import build_problem
    from ..streams import stream

    try:
        problem = build_problem(config)
        batch = problem.batch(problem.space.sample(1, stream(0, "show")), Context())
    except EvoError as error:
        return {"not_built": error.message}
    names = [o.name for o in problem.objectives]
    return {
        "varies": [
            {"part": p.name, "kind": p.kind, "genes": p.shape[0], "candidates": _sizes(p)}
            for p in problem.space.parts
        ],
        "objectives": [_objective(o) for o in problem.objectives],
        "default_objectives": list(getattr(problem, "default_objectives", names)),
        "constraints": [{"name": c.name, "limit": c.limit} for c in problem.constraints],
        "batch": offered(batch),
        "does": [k for k in _OFFERS if hasattr(problem, k)],
        "describe": describe_part(problem),
    }


def _sizes(part: Any) -> float | None:
    """How many values the part can take; None for real numbers."""
    if part.kind in ("real", "subset"):
        return None
    span = part.bounds.high.astype(float) - part.bounds.low.astype(float) + 1.0
    size = 1.0
    for values in span.tolist():
        size *= values
    return size


def _objective(objective: Any) -> dict[str, Any]:
    return {k: getattr(objective, k) for k in ("name", "goal", "unit", "resolution")}


def _thing_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['id']} · {facts['kind']} · {facts['target']}"]
    lines += [f"  {facts['about']}"] if facts["about"] else []
    if facts.get("genes"):
        lines += [f"  for {', '.join(facts['genes'])} genes"]
    if facts.get("levels"):
        lines += [f"  levels {', '.join(map(number, facts['levels']))}"]
    lines += _block("settings", [_setting(s) for s in facts["settings"]], left=3)
    if "not_built" in facts:
        return [*lines, "", f"cannot be built here: {facts['not_built']}"]
    lines += _block("varies", [_part(v) for v in facts.get("varies", ())], left=3)
    lines += _block("sites", _sites(facts.get("describe") or {}), left=4)
    lines += _block("objectives", _objective_rows(facts), left=4)
    limits = [[c["name"], f"at most {number(c['limit'])}"] for c in facts.get("constraints", ())]
    lines += _block("constraints", limits, left=2)
    lines += _block(
        "a batch offers", [[b["name"], b["doc"]] for b in facts.get("batch", ())], left=2
    )
    if facts.get("does"):
        lines += ["", f"it also has {', '.join(facts['does'])}"]
    return lines


def _block(title: str, rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    return ["", title, *aligned(rows, left=left)] if rows else []


def _setting(setting: dict[str, Any]) -> list[str]:
    default = "required" if setting["required"] else repr(setting["default"])
    return [setting["name"], default, setting["doc"]]


def _part(part: dict[str, Any]) -> list[str]:
    size = part["candidates"]
    return [
        part["part"],
        f"{part['genes']} {part['kind']} genes",
        f"{size:.4g} values" if size else "",
    ]


def _sites(described: dict[str, Any]) -> list[list[str]]:
    rows = []
    for site in described.get("sites") or []:
        names = [variant["name"] for variant in site["variants"]]
        shown = ", ".join(names[:6]) + (f", … {names[-1]}" if len(names) > 6 else "")
        rows.append([site["name"], site["kind"], f"{len(names)} variants", shown])
    return rows


def _objective_rows(facts: dict[str, Any]) -> list[list[str]]:
    default = facts.get("default_objectives", ())
    return [
        [
            f"{o['name']} {arrow(o['goal'])}", o["unit"], f"ties below {o['resolution']:.4g}",
            "searched by default" if o["name"] in default else "",
        ]
        for o in facts.get("objectives", ())
    ]  # fmt: skip


def _run_row(view: RunView) -> Row:
    config = view.meta.get("config") or {}
    found = view.candidates
    return {
        "run": str(view.folder),
        "problem": (config.get("problem") or {}).get("id") or "default",
        "algorithm": (config.get("algorithm") or {}).get("id"),
        "seed": config.get("seed"),
        "state": "finished" if view.complete else "unfinished",
        "generations": sum(g.complete for g in view.generations),
        "evaluations": int((found.origin == "search").sum()),
        "failed": int((~found.ok).sum()),
        "front_size": int(found.on_front.sum()),
        "seconds": view.seconds,
    }


def _run_facts(view: RunView) -> dict[str, Any]:
    skipped = {"describe", "drawing", "parts"}
    volumes = [g.hypervolume for g in view.generations if g.complete]
    return {
        **_run_row(view),
        "hypervolume": volumes[-1] if volumes else None,
        "objectives": [
            {"name": c.name, "goal": c.goal, "unit": c.unit, "searched": c.searched}
            for c in view.columns
        ],
        "baselines": {k: sum(g.evaluated for g in v) for k, v in view.baselines.items()},
        "meta": {k: v for k, v in view.meta.items() if k not in skipped},
        "events": [{"at": e.at, "kind": e.kind, "text": e.text} for e in view.events],
    }


def _run_lines(facts: dict[str, Any]) -> list[str]:
    wanted = [
        f"{o['name']} {arrow(o['goal'])}{'' if o['searched'] else ' (recorded)'}"
        for o in facts["objectives"]
    ]
    lines = [
        f"{facts['run']} · {facts['problem']} · {facts['algorithm']} · seed {facts['seed']}",
        f"  {facts['state']} · {'  '.join(wanted)}",
        f"  {facts['generations']} generations · {facts['evaluations']} evaluations · "
        f"{facts['failed']} failed · {facts['front_size']} on the front · "
        f"hypervolume {number(facts['hypervolume'])} · {duration(facts['seconds'])}",
    ]
    lines += [f"  {k}: {n} evaluations" for k, n in facts["baselines"].items()]
    meta = {k: v for k, v in facts["meta"].items() if v not in (None, {}, [], "")}
    config = RunConfig.from_mapping(meta.pop("config"))
    meta["created"] = _when(meta["created"])
    lines += ["", "configuration", *(f"  {x}" for x in config.to_toml().splitlines() if x)]
    lines += _block("record", [[k, _flat(v)] for k, v in sorted(meta.items())], left=2)
    told = [[_when(e["at"]), e["kind"], e["text"]] for e in facts["events"]]
    return lines + _block("events", told, left=3)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items() if v is not None)
    return ", ".join(map(_flat, value)) if isinstance(value, list) else str(value)


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
