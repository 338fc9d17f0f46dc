"""Searches from a notebook or a script: one call, and what it found as frame, figure and files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import RunConfig, differences, load_config
from .errors import ConfigError
from .problem import Objective

if TYPE_CHECKING:
    from .finish import Result
    from .view import RunView


@dataclass(frozen=True)
class Found:
    """What a search found; everything is read from its run folder.

    Args:
        folder: The run, as the commands of ``evo`` name it.
        result: How it ended, and how good its front is.
    """

    folder: Path
    result: Result

    @cached_property
    def view(self) -> RunView:
        """All candidates, generations and settings as arrays."""
        from .view import read_run

        return read_run(self.folder)

    @property
    def front(self) -> Any:
        """The front as a pandas frame, best in the first objective first; see :meth:`frame`."""
        return self.frame(self.view.front_rows())

    def frame(self, rows: Any = None) -> Any:
        """Candidates as a pandas frame: indexed by id, one column per objective and metric.

        Values on validation data follow in columns such as ``kl_validation`` where there are some.

        Args:
            rows: Which candidates of :attr:`view`; all of them when None.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError(
                "a front as a frame needs the package 'pandas', which is not installed",
                hint="pip install pandas; Found.view has the same as arrays",
            ) from error
        found = self.view.candidates
        rows = slice(None) if rows is None else rows
        names = [column.name for column in self.view.columns]
        index = pandas.Index(found.id[rows], name="id")
        frame = pandas.DataFrame(found.values[rows], columns=names, index=index)
        again = pandas.DataFrame(found.validation[rows], columns=names, index=index)
        return frame.join(again.dropna(axis="columns", how="all").add_suffix("_validation"))

    def plot(self, kind: str = "front") -> Any:
        """A plotly figure as in the report.

        Args:
            kind: ``"front"`` for every pair of objectives, ``"parallel"`` for all at once,
                ``"growth"`` for the hypervolume by evaluation and by minute.

        Raises:
            ConfigError: There is no such figure, or nothing feasible was found.
        """
        from plotly.graph_objects import Figure

        from .report import curves, figures, parallel, words
        from .report.facts import gather

        facts = gather([self.view])
        if facts.knee is None:
            raise ConfigError(f"the front of {self.folder} is empty, so there is nothing to draw")
        if kind == "growth":
            spec = curves.growth(facts, [])
        elif kind == "parallel":
            spec = parallel.parallel(facts)
        elif kind == "front":
            names = [words.name_of(facts, int(row)) for row in facts.front]
            light, _ = figures.cloud(facts, 1)
            knee = figures.knee_series(facts, words.name_of(facts, facts.knee))
            series = [light, figures.front_series(facts, names), knee]
            spec, _ = figures.matrix(facts.objectives, series)
        else:
            raise ConfigError(f"no figure called {kind!r}; there are front, parallel and growth")
        return Figure(spec)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, one HTML page that needs no network; in the run's folder by default."""
        from .report import write_report

        return write_report([self.folder], out)

    def export(
        self, candidate: str | int, to: str | Path, *, where: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Build one candidate on disk: a saved model, a seed list, a rule.

        Args:
            candidate: An id, ``"knee"``, or ``"best:OBJECTIVE"``.
            to: Folder to write; it must not exist or be empty.
            where: Choose only among candidates within limits such as ``"params < 12e6"``.

        Returns:
            What the problem tells of what it built.

        Raises:
            ConfigError: No candidate fits, or the problem builds nothing.
            StoreError: The folder is taken.
        """
        from .cli.building import expected_of, exporter, refuse_taken
        from .cli.choosing import pick

        row = pick(self.view, str(candidate), where)
        refuse_taken(Path(to))
        genomes = self.view.candidates.genomes.take([row])
        built = exporter(self.view).export(genomes, Path(to), expected=expected_of(self.view, row))
        return dict(built)


def search(
    problem: Any,
    *,
    objectives: Sequence[Any] = (),
    metrics: Sequence[Any] = (),
    constraints: Sequence[str] = (),
    algorithm: str | Mapping[str, Any] | None = None,
    population: int | None = None,
    generations: int | None = None,
    evaluations: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Found:
    """Search for Pareto fronts, as ``evo run`` does, and return what was found.

    Called again with the same ``out``, it goes on with the run there, or returns at once what a
    finished one found. An interrupted search is resumed the same way.

    Args:
        problem: An id, ``module:attr``, a TOML file, a table with ``id`` and settings, or a class
            that a module or the notebook defines.
        objectives: Ids, ``module:attr``, tables, or objectives that a module or the notebook
            defines; those of the problem when empty.
        metrics: Recorded beside the objectives, not searched.
        constraints: Limits such as ``"params < 12e6"``.
        algorithm: Id, or a table with ``id`` and settings; ``"nsga2"`` by default.
        population: Candidates per generation, 100 by default.
        generations: Limit; 40 where no limit at all is given.
        evaluations: Limit on candidates judged.
        minutes: Limit on active minutes.
        seed: Root of every random stream, 0 by default.
        settings: Any other setting by its dotted name, e.g. ``{"evaluator.device": "cpu"}``.
        out: Folder of the run; a new one in the folder of runs when None.
        progress: Whether lines about the search go to standard error.

    Raises:
        EvoError: The configuration, the problem or the folder cannot be used.
    """
    config = _config(problem)
    chosen = {"id": algorithm} if isinstance(algorithm, str) else dict(algorithm or {})
    given: dict[str, Any] = {f"algorithm.{name}": value for name, value in chosen.items()}
    given |= {"algorithm.population": population, "seed": seed, "stop.generations": generations,
              "stop.evaluations": evaluations, "stop.minutes": minutes}  # fmt: skip
    for name, things in (("objectives", objectives), ("metrics", metrics)):
        given[name] = [_named(thing, "objective") for thing in things] or None
    given["constraints"] = list(constraints) or None
    for name, value in (given | dict(settings or {})).items():
        config = config if value is None else config.override(name, value)
    return _run(config, None if out is None else Path(out), progress)


def _run(config: RunConfig, folder: Path | None, progress: bool) -> Found:
    from .live import Lines, heading_of
    from .run import Run
    from .schema import FILE
    from .view import read_standing

    if folder is not None and (folder / FILE).is_file():
        recorded = RunConfig.from_mapping(read_standing(folder).meta["config"])
        if changed := differences(recorded, config):
            raise ConfigError(
                f"the run in {str(folder)!r} has another configuration: {'; '.join(changed)}",
                hint="name another folder with out=",
            )
        run = Run.resume(folder, command=["evo.search"])
    else:
        run = Run.create(config, folder, command=["evo.search"])
    with run:
        lines = Lines(heading_of(run), sys.stderr) if progress else None
        try:
            for generation in run:
                if lines:
                    lines.hear(generation)
        finally:
            if lines:
                lines.close()
        return Found(run.folder, run.finish())


def _config(problem: Any) -> RunConfig:
    if isinstance(problem, str) and problem.endswith(".toml"):
        return load_config(problem)
    return RunConfig.from_mapping({"problem": _named(problem, "problem")})


def _named(thing: Any, kind: str) -> Any:
    """A thing as the run file can name it: ids and tables as they are, objects by their module.

    Raises:
        ConfigError: No module has the object under its own name.
    """
    if isinstance(thing, str | Mapping):
        return thing
    made: Any = thing.fn if isinstance(thing, Objective) else thing
    module, name = getattr(made, "__module__", ""), getattr(made, "__qualname__", "")
    found: Any = sys.modules.get(module)
    for step in name.split("."):
        found = getattr(found, step, None)
    if found is not thing:
        told = getattr(thing, "name", name) or repr(thing)
        raise ConfigError(
            f"no module has the {kind} {told!r} under its own name",
            hint="define it at the top level of a module or notebook, or name it as module:attr",
        )
    return f"{module}:{name}"
