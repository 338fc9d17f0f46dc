"""The loop: create or resume a run, iterate over its generations, finish it."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from . import provenance
from .algorithms import Algorithm, Population
from .archive import Box, spread_order
from .config import DEFAULT_PROBLEM, RunConfig, StopConfig
from .configured import build_algorithm
from .errors import ConfigError, StoreError
from .evaluate import (
    Crew,
    Evaluator,
    Judges,
    Planner,
    Race,
    Verdict,
    chunking,
    crew_of,
    offer,
    pick_device,
)  # fmt: skip
from .finish import Progress, Result, finish
from .folders import default_folder
from .genomes import Genomes
from .low_fidelity import low_search, low_share, predicts, search_low
from .phase import Desk, Phase, Step
from .problem import Context, Evaluation, Problem, describe_part
from .registry import build_problem
from .replay import check_recorded, read_settings, what_changed
from .schema import guarded
from .stopping import eta, extended, stop_reason
from .store import LOW, SEARCH, RunFile, read_run
from .streams import stream

__all__ = ["Generation", "Progress", "Result", "Run"]


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """One generation, as it is shown.

    Args:
        number: 0 for the first.
        genomes: What was asked for, n rows.
        evaluation: Results of the n candidates.
        population: What the algorithm keeps now.
        hypervolume: Of everything found so far, in the box of the run, in [0, 1].
        best: Best value so far of each objective among feasible candidates, raw units.
        front_size: Candidates on the front of everything found so far.
        evaluations: Candidates judged so far.
        cached: How many of the n were known before.
        seconds: Active time of this generation.
        replayed: Whether it was read from the log.
        eta_seconds: Estimated active time until the first limit; None when nothing tells.
        facts: What the algorithm says of it, such as how well it was predicted.
    """

    number: int
    genomes: Genomes
    evaluation: Evaluation
    population: Population
    hypervolume: float
    best: dict[str, float]
    front_size: int
    evaluations: int
    cached: int
    seconds: float
    replayed: bool
    eta_seconds: float | None
    facts: Mapping[str, float] = field(default_factory=dict)


class Run:
    """A search and its folder. Iterate over it, then :meth:`finish`; also a context manager.

    Killing the process at any moment loses at most the chunk in flight; :meth:`resume` goes on and
    ends in the same results, bit for bit.
    """

    def __init__(
        self, config: RunConfig, problem: Problem, judges: Judges, algorithm: Algorithm,
        file: RunFile, context: Context, starts: Genomes | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.problem = problem
        self.judges = judges
        self.file = file
        self.context = context
        self.folder = file.folder
        meta = file.meta()
        self.stop = StopConfig(**meta["stop"])
        self.stall_from = int(meta.get("stall_from", 0))
        self.crew: Crew | None = None
        offer(problem, config.evaluator, context.device)
        self.desk, verdicts = _desk(self, meta)
        self.search = Phase(self.desk, SEARCH, algorithm)
        self.low = low_search(self, float(meta.get("low_fidelity", 0.0)), verdicts, starts)
        self.reason = ""
        self.on_low: Progress | None = None  # told how far the search on a part of the data is

    @staticmethod
    def create(
        config: RunConfig,
        folder: str | Path | None = None,
        *,
        starts: Genomes | None = None,
        command: Sequence[str] | None = None,
        origin: str | None = None,
    ) -> Run:
        """Begin a run.

        Args:
            config: What to do.
            folder: Where; by default a new folder below ``$EVO_RUNS`` or ``runs``.
            starts: Warm-start genomes instead of those of the problem, best first.
            command: The command line, for the record.
            origin: The run these starts came from, for the record.

        Raises:
            EvoError: The configuration, the problem or the folder cannot be used.
        """
        problem, warm = build_problem(config), starts is not None
        judges = Judges.of(problem, config)
        if starts is None and config.starts and hasattr(problem, "starts"):
            draw = stream(config.seed, "starts")
            starts = problem.starts(config.algorithm.population, draw)  # type: ignore[attr-defined]
        if starts is not None:
            problem.space.check(starts)
        algorithm = build_algorithm(
            config, problem.space, judges, starts, variation=getattr(problem, "variation", None)
        )
        names = [o.name for o in judges.objectives]
        share = low_share(config, problem, names, predicts(algorithm))
        device = pick_device(config.evaluator.device)
        meta = _first_meta(config, problem, device, command) | {
            **chunking(problem, config.evaluator, config.algorithm.population, device),
            "warm_start": origin,
            "low_fidelity": 0.0 if warm else share,
        }
        name = config.problem.id or DEFAULT_PROBLEM
        path = Path(folder) if folder is not None else default_folder(name, config.seed)
        file = RunFile.create(path, meta, problem.space, judges.columns, starts=starts)
        try:
            with guarded(path):
                (path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
            context = Context(device, config.seed)
            return Run(config, problem, judges, algorithm, file, context, starts)
        except BaseException:
            file.close()
            raise

    @staticmethod
    def resume(
        folder: str | Path,
        *,
        more_generations: int | None = None,
        workers: int | None = None,
        warm_start: bool = False,
        command: Sequence[str] | None = None,
    ) -> Run:
        """Go on with a run, replaying its log first.

        Args:
            folder: The run.
            more_generations: Extend the planned generations; limits reached already are lifted.
            workers: Judge in so many processes this time; 0 for none but this one. Results are the
                same whatever their number.
            warm_start: Begin a new run beside the old one instead, from the recorded front, with
                the configuration of its ``config.toml``; the old run stays as it is.
            command: The command line, for the record.

        Raises:
            StoreError: The run is missing, locked, damaged or of a newer format.
            ReplayError: The configuration, the model or the text changed since.
        """
        if more_generations is not None and more_generations < 1:
            raise ConfigError(f"a run is extended by at least 1 generation, got {more_generations}")
        if warm_start:
            return _warm_start(Path(folder), more_generations, workers, command)
        file = RunFile.open(folder)
        try:
            return _reopen(file, more_generations, workers)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def __iter__(self) -> Iterator[Generation]:
        """Replayed generations first, then new ones until a limit is reached.

        Raises:
            ReplayError: The log is not repeated.
            ObjectiveError: An objective is unusable.
            StoreError: The file cannot be written.
        """
        search_low(self)
        while True:
            if self.file.generation(SEARCH, self.search.number) is None:
                self.reason = stop_reason(self.stop, self.file, self.stall_from) or ""
                if self.reason:
                    return
            try:
                step = self.search.advance()
            except KeyboardInterrupt:
                self.file.event("interrupted", f"in generation {self.search.number}")
                raise
            if step is None:
                self.reason = "the search space is exhausted"
                return
            yield self._generation(step)

    def finish(self, on_progress: Progress | None = None) -> Result:
        """Run the baselines, judge the front again, close the file; what was done is not redone.

        Args:
            on_progress: Called with what is going on, how much is done, and out of how much.
        """
        try:
            return finish(self, on_progress)
        except KeyboardInterrupt:
            self.file.event("interrupted", "while finishing")
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Stop workers, release the file, its lock and the problem; may be called twice."""
        if self.crew:
            self.crew.close()
        self.file.close()
        release = getattr(self.problem, "close", None)
        if callable(release):
            release()

    def _eta(self) -> float | None:
        return eta(self.stop, self.file.generations(SEARCH), self.file.generations(LOW))

    def _generation(self, step: Step) -> Generation:
        front = self.search.front
        searched = self.judges.objectives[: self.judges.n_searched]
        best = front.fitness.min(axis=0) if len(front) else np.full(len(searched), np.nan)
        signs = [1.0 if o.goal == "min" else -1.0 for o in searched]
        return Generation(
            number=step.number,
            genomes=step.genomes,
            evaluation=step.evaluation,
            population=self.search.algorithm.population,
            hypervolume=step.hypervolume,
            best={o.name: float(s * v) for o, s, v in zip(searched, signs, best, strict=True)},
            front_size=len(front),
            evaluations=self.search.evaluations,
            cached=step.cached,
            seconds=step.seconds,
            replayed=step.replayed,
            eta_seconds=None if step.replayed else self._eta(),
            facts=step.facts,
        )


def _first_meta(
    config: RunConfig, problem: Problem, device: str, command: Sequence[str] | None
) -> dict[str, Any]:
    stop = config.stop
    return {
        "config": config.to_mapping(),
        "fingerprint": config.fingerprint(),
        "problem": provenance.fingerprints(problem),
        "describe": describe_part(problem),
        "versions": provenance.versions(),
        "host": provenance.machine(),
        "git": provenance.source_commit(),
        "device": device,
        "command": list(sys.argv if command is None else command),
        "created": time.time(),
        "status": "running",
        "stop": {
            "generations": stop.generations, "evaluations": stop.evaluations,
            "minutes": stop.minutes, "stall": stop.stall,
        },
    }  # fmt: skip


def _desk(run: Run, meta: dict[str, Any]) -> tuple[Desk, dict[bytes, Verdict]]:
    """The log with an evaluator that knows it, and what is known on a part of the data."""
    file = run.file
    known: dict[bytes, Verdict] = {}
    low: dict[bytes, Verdict] = {}
    ids: dict[str, dict[bytes, int]] = defaultdict(dict)
    recorded, violations = file.recorded()
    confidence = run.config.evaluator.racing
    race = Race(run.judges, confidence) if confidence else None
    samples = file.samples(len(race.sampled)) if race else {}
    for i, key in enumerate(recorded.genomes.keys()):
        candidate = int(recorded.id[i])
        ids[str(recorded.origin[i])][key] = candidate
        (low if recorded.origin[i] == LOW else known)[key] = Verdict(
            recorded.values[i], violations[i], bool(recorded.ok[i]), recorded.reason[i],
            float(recorded.share[i]), samples.get(candidate),
        )  # fmt: skip

    def smaller(chunk: int) -> None:
        file.set_meta(chunk=chunk)
        file.event("memory", f"memory ran out; chunks have {chunk} candidates from now on")

    planner = Planner(int(meta["chunk"]), smaller)
    run.crew = crew_of(run.config, run.problem, run.judges, planner, run.context.device)
    if run.crew:
        run.crew.on_death = lambda told: file.event("worker", told)
    evaluator = Evaluator(run.problem, run.judges, run.context, planner, known, race, run.crew)
    dense = meta["describe"].get("dense", {})
    searched = [o.name for o in run.judges.objectives[: run.judges.n_searched]]
    known_dense = all(np.isfinite(dense.get(name, np.nan)) for name in searched)
    anchors = [[float(dense[name]) for name in searched]] if known_dense else []
    desk = Desk(
        file=file,
        evaluator=evaluator,
        ids=ids,
        anchors=run.judges.fitness(np.array(anchors).reshape(-1, len(searched))),
        diagnose=lambda: what_changed(meta, run.problem),
        box=Box.from_json(meta["box"]) if "box" in meta else None,
        scales=np.array(meta["scales"], dtype=np.float64) if "scales" in meta else None,
        measurements=dict(meta.get("measurements", {})),
    )
    return desk, low


def _reopen(file: RunFile, more_generations: int | None, workers: int | None) -> Run:
    meta = read_settings(file)
    config = RunConfig.from_mapping(meta["config"])
    problem = build_problem(config)
    judges = Judges.of(problem, config)
    check_recorded(file, meta, config, problem, judges)
    if workers is not None:
        config = config.override("evaluator.workers", workers)
    if "measurements" in meta and hasattr(problem, "restore"):
        problem.restore(meta["measurements"])  # type: ignore[attr-defined]
    device = pick_device(config.evaluator.device)
    starts = file.get("starts")
    algorithm = build_algorithm(
        config, problem.space, judges, starts, variation=getattr(problem, "variation", None)
    )
    if more_generations is not None:
        stop, stall_from = extended(StopConfig(**meta["stop"]), file, more_generations)
        file.set_meta(stop=stop, stall_from=stall_from)
        file.event("extended", f"by {more_generations} generations")
    file.set_meta(status="running")
    file.event("resumed", what_changed(meta, problem, device))
    return Run(config, problem, judges, algorithm, file, Context(device, config.seed), starts)


def _warm_start(
    folder: Path, generations: int | None, workers: int | None, command: Sequence[str] | None
) -> Run:
    """A new run beside the old one whose first generation holds the recorded front."""
    view = read_run(folder)
    rows = view.front_rows()
    if not len(rows):
        raise StoreError(f"run {str(folder)!r} has no front to start from")
    from .config import load_config

    given = folder / "config.toml"
    config = load_config(given) if given.exists() else RunConfig.from_mapping(view.meta["config"])
    if generations is not None:
        config = config.override("stop.generations", generations)
    if workers is not None:
        config = config.override("evaluator.workers", workers)
    beside = (folder.with_name(f"{folder.name}-warm{k}") for k in range(1, 10_000))
    path = next(path for path in beside if not path.exists())
    rows = rows[spread_order(view.fitness[rows])]  # a small population takes the first of them
    starts = view.candidates.genomes.take(rows)
    return Run.create(config, path, starts=starts, command=command, origin=str(folder))
