"""Commands that search: run, resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..config import EMBEDDED, RunConfig, differences, load_config
from ..errors import ConfigError
from ..schema import FILE
from ..store import RunFile
from ..view import SEARCH, RunView, read_run
from .output import Flag, Words, run_folder
from .watching import watch

Setting = Annotated[Words, Parameter(name="--set")]
Switch = bool | None
_FREE = ("stop.", "evaluator.workers ")  # settings that a run may go on with another value of


def run(
    target: str | None = None,
    /,
    *,
    objective: Words = (),
    metric: Words = (),
    constraint: Words = (),
    algorithm: str | None = None,
    population: int | None = None,
    generations: int | None = None,
    evaluations: int | None = None,
    minutes: float | None = None,
    stall: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    chunk: str | None = None,
    workers: int | None = None,
    baseline: Switch = None,
    starts: Switch = None,
    set_: Setting = (),
    out: Path | None = None,
    resume: Flag = False,
    warm_start: Flag = False,
    report: Switch = None,
    json: Flag = False,
) -> None:
    """Search for Pareto fronts; without a target, prune the embedded sentence encoder.

    Args:
        target: A problem id, module:attr, or a TOML file.
        objective: Search this objective: an id, or module:attr; may be repeated.
        metric: Record this objective without searching it; may be repeated.
        constraint: Limit such as "params < 12e6"; may be repeated.
        algorithm: Id, see evo list algorithms [default: nsga2].
        population: Candidates per generation [default: 100].
        generations: Stop after this many generations.
        evaluations: Stop after this many candidates judged.
        minutes: Stop after this many minutes.
        stall: Stop after this many generations without a better hypervolume.
        seed: Root of every random stream [default: 0].
        device: Where to judge: auto, cpu, cuda:0 [default: auto].
        chunk: Candidates judged at once, or auto [default: auto].
        workers: Judge in this many processes [default: in this one].
        baseline: Also run uniform, random and greedy baselines at the same number of evaluations,
            and methods that the problem has of its own.
        starts: Begin with the warm starts of the problem [default: on].
        set_: Any other setting as NAME=VALUE, e.g. algorithm.mutation=reset; may be repeated.
        out: Folder of the run; named by date, problem and seed when not given.
        resume: Continue the run in --out when there is one.
        warm_start: With --resume: begin again from the recorded front.
        report: Write the HTML report at the end [default: on without a target].
        json: Write one JSON object per generation, then the result.
    """
    from ..run import Run

    base = target_config(target)
    if target is None and generations is None and (evaluations or minutes or stall):
        base = base.override(
            "stop.generations", None
        )  # the limit that was asked for is the only one
    config = _with_flags(with_settings(base, set_), {
        "objectives": list(objective) or None, "metrics": list(metric) or None,
        "constraints": list(constraint) or None, "algorithm.id": algorithm,
        "algorithm.population": population, "stop.generations": generations,
        "stop.evaluations": evaluations, "stop.minutes": minutes, "stop.stall": stall,
        "seed": seed, "evaluator.device": device, "evaluator.chunk": chunk,
        "evaluator.workers": workers, "baseline": baseline, "starts": starts,
    })  # fmt: skip
    if out is None and (resume or warm_start):
        raise ConfigError("--resume and --warm-start need --out", hint="or use: evo resume RUN")
    page = target is None if report is None else report
    if resume and out is not None and (out / FILE).is_file():
        _same_config(out, config)
        found = Run.resume(out, workers=config.evaluator.workers, warm_start=warm_start)
        watch(found, page=page, as_json=json)
    else:
        watch(Run.create(config, out), page=page, as_json=json)


def resume(
    run: str,
    /,
    *,
    generations: str | None = None,
    minutes: float | None = None,
    workers: int | None = None,
    warm_start: Flag = False,
    report: bool = False,
    json: Flag = False,
) -> None:
    """Continue a run where it stopped.

    Args:
        run: Folder of the run, or its name in the folder of runs.
        generations: +100 for a hundred more, 100 for a hundred in all.
        minutes: This many more active minutes.
        workers: Judge in this many processes from now on; 0 for none but this one.
        warm_start: Begin again from the recorded front, where the log cannot be repeated.
        report: Write the HTML report at the end.
        json: Write one JSON object per generation, then the result.
    """
    from ..run import Run

    folder = run_folder(run)
    more = _more(read_run(folder), generations) if generations is not None else None
    if minutes is not None and not warm_start:
        _allow_minutes(folder, minutes)
    found = Run.resume(folder, more_generations=more, workers=workers, warm_start=warm_start)
    watch(found, page=report, as_json=json)


def target_config(target: str | None) -> RunConfig:
    """The configuration a target names: a TOML file, or the defaults with another problem.

    Raises:
        ConfigError: The file is missing or holds an illegal setting.
    """
    if target is None:
        return RunConfig.from_mapping(EMBEDDED)
    if target.endswith(".toml"):
        return load_config(target)
    return RunConfig.from_mapping({"problem": {"id": target}})


def with_settings(config: RunConfig, settings: tuple[str, ...]) -> RunConfig:
    """The configuration with settings such as ``"algorithm.population=50"`` applied in order.

    Raises:
        ConfigError: A setting has another form, leads nowhere, or does not fit.
    """
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(
                f"--set needs NAME=VALUE, got {text!r}", hint="for example --set problem.model=PATH"
            )
        config = config.override(name.strip(), value.strip())
    return config


def _with_flags(config: RunConfig, flags: Mapping[str, Any]) -> RunConfig:
    for name, value in flags.items():
        if value is not None:
            config = config.override(name, value)
    return config


def _same_config(folder: Path, wanted: RunConfig) -> None:
    """Continue only what was begun: the same configuration, limits and workers aside."""
    recorded = RunConfig.from_mapping(read_run(folder).meta["config"])
    changed = [d for d in differences(recorded, wanted) if not d.startswith(_FREE)]
    if changed:
        raise ConfigError(
            f"the run in {folder} has another configuration: {'; '.join(changed)}",
            hint=f"evo resume {folder} continues it as it is; name another --out for a new run",
        )


def _more(view: RunView, generations: str) -> int:
    """How many generations beyond the planned ones, or beyond the last one where it has stopped."""
    try:
        wanted = int(generations)
    except ValueError:
        raise ConfigError(
            f"--generations needs a number such as 100 or +100, got {generations!r}"
        ) from None
    plan = view.meta["stop"]["generations"]
    done = len(view.generations)
    base = 0 if generations.startswith("+") else (done if view.complete or not plan else plan)
    if wanted <= base:
        least = f"more than the {base} it has" if base else "at least 1"
        raise ConfigError(
            f"--generations must be {least}, got {generations}",
            hint="+100 means a hundred more",
        )
    return wanted - base


def _allow_minutes(folder: Path, minutes: float) -> None:
    """Let a run go on for some more active minutes; other limits it has reached are lifted."""
    if not minutes > 0:
        raise ConfigError(f"--minutes must be above 0, got {minutes}")
    file = RunFile.open(folder)
    try:
        rows = file.generations(SEARCH)
        stop = dict(file.meta()["stop"])
        reached = {
            "generations": len(rows),
            "evaluations": sum(row.evaluated for row in rows),
        }
        for name, value in reached.items():
            if stop[name] is not None and value >= stop[name]:
                stop[name] = None
        stop["minutes"] = sum(row.seconds for row in rows) / 60 + minutes
        file.set_meta(stop=stop, stall_from=len(rows))
        file.event("extended", f"by {minutes:g} minutes")
    finally:
        file.close()
