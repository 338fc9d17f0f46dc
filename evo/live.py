"""What a running search tells: a live table, plain lines, or JSON lines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from .config import DEFAULT_PROBLEM
from .problem import Goal

if TYPE_CHECKING:
    from .run import Generation, Run

_DECIMAL = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_TIME = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SECONDS = {unit: scale for scale, unit in _TIME} | {"us": 1e-6, "seconds": 1.0}
_BYTES = {"B": 1.0, "byte": 1.0, "bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LINES = 20
_PATIENCE = 30.0


def arrow(goal: Goal) -> str:
    """The arrow of an objective: down when less is better, up when more is."""
    return "↓" if goal == "min" else "↑"


def number(value: float | None, unit: str = "") -> str:
    """A number for people: four significant digits, thousands as letters, its unit behind it.

    Bytes take binary prefixes, times their nearest unit, counts from ten thousand on the letters k,
    M, G and T. None and NaN become a dash.

    Example:
        >>> number(12_100_000), number(0.0049, "s"), number(32_505_856, "bytes"), number(0.41268)
        ('12.1 M', '4.9 ms', '31 MiB', '0.4127')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}inf {unit}".rstrip()
    if unit in _BYTES:
        return _scaled(value * _BYTES[unit], _BINARY, 1024.0)
    if unit in _SECONDS:
        return _scaled(value * _SECONDS[unit], _TIME, 1000.0) if value else f"0 {unit}"
    if abs(float(f"{value:.4g}")) < 1e4:
        return f"{_digits(value)} {unit}".rstrip()
    return f"{_scaled(value, _DECIMAL, 1000.0)} {unit}".rstrip()


def valued(value: float | None, name: str, unit: str) -> str:
    """A value under a title that holds its name: a unit that only repeats the name is left out.

    Example:
        >>> valued(12_100_000, "params", "params"), valued(4.9, "latency", "ms")
        ('12.1 M', '4.9 ms')
    """
    return number(value, "" if unit == name else unit)


def duration(seconds: float | None) -> str:
    """A span of time for people: ``3.1 s``, ``1 min 52 s``, ``2 h 5 min``.

    Example:
        >>> duration(3.14), duration(112), duration(7500)
        ('3.1 s', '1 min 52 s', '2 h 5 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds >= 0.095 else f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0, indent: str = "  ") -> list[str]:
    """Rows of cells as lines with columns as wide as their widest cell; empty input gives no lines.

    Args:
        rows: Cells; all rows have the same length.
        left: How many leading columns are flushed left; the others are flushed right.
        indent: What every line starts with.
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [indent + "  ".join(_cells(row, widths, left)).rstrip() for row in rows]


def _cells(row: Sequence[str], widths: Sequence[int], left: int) -> list[str]:
    pairs = enumerate(zip(row, widths, strict=True))
    return [cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in pairs]


@dataclass(frozen=True, slots=True)
class Heading:
    """What is searched, told once before the first generation.

    Args:
        problem: Id or reference of the problem.
        facts: Short facts behind it, e.g. the model and ``12 sites``.
        objectives: (name, goal, unit) of each searched objective, in order.
        algorithm: Id of the algorithm.
        population: Candidates per generation.
        seed: Root seed.
        folder: The run folder as a command would name it.
        generations: Planned number of generations, None when open.
        predicts: Whether candidates are predicted before they are judged.
    """

    problem: str
    facts: tuple[str, ...]
    objectives: tuple[tuple[str, Goal, str], ...]
    algorithm: str
    population: int
    seed: int
    folder: str
    generations: int | None = None
    predicts: bool = False

    def lines(self) -> list[str]:
        """Two lines: the search in one sentence, the folder in the other."""
        wanted = "  ".join(f"{name} {arrow(goal)}" for name, goal, _ in self.objectives)
        how = (self.algorithm, f"population {self.population}", f"seed {self.seed}")
        return [" · ".join((self.problem, *self.facts, wanted, *how)), f"run {self.folder}"]


def heading_of(run: Run) -> Heading:
    """What the run searches, in words."""
    config = run.config
    described: dict[str, Any] = dict(run.file.meta().get("describe") or {})
    name = config.problem.id or DEFAULT_PROBLEM
    about = str(described.get("model") or described.get("title") or "")
    sites = [f"{len(described['sites'])} sites"] if described.get("sites") else []
    searched = run.judges.objectives[: run.judges.n_searched]
    return Heading(
        problem=name,
        facts=(*([about] if about and about != name else []), *sites),
        objectives=tuple((o.name, o.goal, o.unit) for o in searched),
        algorithm=config.algorithm.id, population=config.algorithm.population, seed=config.seed,
        folder=str(run.folder), generations=run.stop.generations,
        predicts=bool(getattr(run.search.algorithm, "predicts", False)),
    )  # fmt: skip


class Listener(Protocol):
    """Hears each generation of a run as it ends; closed once, also when the run breaks off."""

    def hear(self, generation: Generation) -> None:
        """Tell one generation."""
        ...

    def close(self) -> None:
        """Tell what was held back."""
        ...


class Lines:
    """Plain lines: some twenty rows however long the run, one every half minute, and the last."""

    def __init__(self, heading: Heading, out: TextIO) -> None:
        self._heading, self._out = heading, out
        self._held: Generation | None = None
        self._told = -math.inf
        self._write("\n".join([*heading.lines(), "", _join(_titles(heading), _widths(heading))]))

    def hear(self, generation: Generation) -> None:
        """Write the row, or hold it back until it is due; of replayed ones only the last is due."""
        if generation.replayed:
            self._held = generation
            return
        if self._held is not None and self._held.replayed:
            self._row(self._held)
        due = generation.number % _step(self._heading.generations) == 0
        if due or time.monotonic() - self._told > _PATIENCE:
            self._row(generation)
        else:
            self._held = generation

    def close(self) -> None:
        """Write the last row when it was held back."""
        if self._held is not None:
            self._row(self._held)

    def _row(self, generation: Generation) -> None:
        self._held, self._told = None, time.monotonic()
        self._write(_join(_row(self._heading, generation), _widths(self._heading)))

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class Table:
    """A live table on a terminal: the newest rows, and one line with progress and time to go."""

    def __init__(self, heading: Heading, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._heading = heading
        self._rows: list[list[str]] = []
        console = Console(file=out, highlight=False, soft_wrap=True)
        for line in (*heading.lines(), ""):
            console.print(line, markup=False)
        self._live = Live(console=console, refresh_per_second=4, vertical_overflow="crop")
        self._live.start()

    def hear(self, generation: Generation) -> None:
        """Add the row and redraw."""
        self._rows = [*self._rows, _row(self._heading, generation)][-_LINES:]
        planned = self._heading.generations
        of = f" of {planned}" if planned is not None else ""
        eta = duration(generation.eta_seconds)
        self._live.update(self._draw(f"generation {generation.number + 1}{of} · {eta} to go"))

    def close(self) -> None:
        """Leave the table as it is, without the line of progress."""
        self._live.update(self._draw(None), refresh=True)
        self._live.stop()

    def _draw(self, progress: str | None) -> Any:
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        for title in _titles(self._heading):
            grid.add_column(title, justify="right", no_wrap=True)
        for row in self._rows:
            grid.add_row(*(Text(cell) for cell in row))
        return Group(grid, Text(progress, style="dim")) if progress else Group(grid)


class JSONLines:
    """One JSON object per generation."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def hear(self, generation: Generation) -> None:
        """Write the generation as one line; numbers that are not finite become null."""
        record = {
            "type": "generation", "number": generation.number,
            "evaluations": generation.evaluations, "cached": generation.cached,
            "front_size": generation.front_size, "hypervolume": generation.hypervolume,
            "best": dict(generation.best), "seconds": generation.seconds,
            "eta_seconds": generation.eta_seconds, "replayed": generation.replayed,
            "facts": dict(generation.facts),
        }  # fmt: skip
        self._out.write(json.dumps(plain(record)) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Nothing is held back."""


def choose(heading: Heading, *, out: TextIO, commentary: TextIO, as_json: bool) -> Listener:
    """JSON lines on ``out``, or a table or lines on ``commentary``, a terminal or not."""
    if as_json:
        return JSONLines(out)
    return Table(heading, commentary) if commentary.isatty() else Lines(heading, commentary)


def plain(value: Any) -> Any:
    """The same value in JSON's terms: arrays as lists, NaN and infinities as None, bytes as hex."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.hex()
    return [plain(item) for item in value] if isinstance(value, Sequence) else str(value)


def _scaled(value: float, scales: Sequence[tuple[float, str]], factor: float) -> str:
    """The value under the largest scale that leaves at least 1 after rounding to four digits."""
    fits = [i for i, (scale, _) in enumerate(scales) if abs(value) >= scale]
    i = fits[0] if fits else len(scales) - 1
    if i > 0 and abs(float(f"{value / scales[i][0]:.4g}")) >= factor:
        i -= 1
    return f"{_digits(value / scales[i][0])} {scales[i][1]}"


def _digits(value: float) -> str:
    """Four significant digits without trailing zeros."""
    text = f"{value:.4g}"
    return "0" if text == "-0" else text


def _step(planned: int | None) -> int:
    if planned is None:
        return 1
    return next((step for step in _STEPS if planned / step <= _LINES), _STEPS[-1])


def _titles(heading: Heading) -> list[str]:
    best = [f"{name} best" for name, _, _ in heading.objectives]
    agreed = ["predicted"] if heading.predicts else []
    return ["gen", "evals", "front", "hypervolume", *best, *agreed, "s/gen", "eta"]


def _widths(heading: Heading) -> list[int]:
    best = [max(12, len(name) + 5) for name, _, _ in heading.objectives]
    return [5, 8, 6, 12, *best, *([9] if heading.predicts else []), 7, 12]


def _row(heading: Heading, generation: Generation) -> list[str]:
    best = [valued(generation.best.get(name), name, unit) for name, _, unit in heading.objectives]
    hypervolume = generation.hypervolume
    told = "–" if hypervolume is None or math.isnan(hypervolume) else f"{hypervolume:.4f}"
    return [
        str(generation.number), str(generation.evaluations), str(generation.front_size), told,
        *best, *([_agreed(generation)] if heading.predicts else []),
        f"{generation.seconds:.3g}", duration(generation.eta_seconds),
    ]  # fmt: skip


def _agreed(generation: Generation) -> str:
    """Rank agreement of predictions with what was found."""
    found = generation.facts.get("agreement")
    return "–" if found is None else f"{found:.2f}"


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
