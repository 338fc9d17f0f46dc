"""How far a study is and when it will be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .attempt import Event
from .folder import State
from .plan import Cell


@dataclass
class Group:
    """All seeds of one problem, algorithm and settings."""

    problem: str
    label: str
    total: int = 0
    done: int = 0
    running: int = 0
    failed: int = 0
    evaluations: int = 0
    seconds: list[float] = field(default_factory=list)  # of its finished runs


class Board:
    """Counts per group of cells, and the estimated time to go.

    Args:
        cells: All cells of the study.
        states: How far each of them was in the beginning.
        jobs: How many run at a time.
    """

    def __init__(self, cells: Sequence[Cell], states: Sequence[State], jobs: int) -> None:
        self.jobs, self.total = jobs, len(cells)
        self.failures: list[tuple[Cell, str]] = []
        self._groups: dict[tuple[str, str], Group] = {}
        self._open: dict[str, Cell] = {}
        self._running: dict[str, Event] = {}
        for cell, state in zip(cells, states, strict=True):
            group = self._group(cell)
            group.total += 1
            if state.state == "finished":
                self._finish(group, state.evaluations, state.seconds)
            else:
                self._open[cell.name] = cell

    @property
    def groups(self) -> list[Group]:
        """In the order of the study."""
        return list(self._groups.values())

    @property
    def done(self) -> int:
        """How many cells are finished."""
        return sum(group.done for group in self.groups)

    def hear(self, event: Event) -> None:
        """Count what happened to a cell."""
        cell, group = event.cell, self._group(event.cell)
        if event.kind in ("begun", "step"):
            group.running += event.kind == "begun"
            self._running[cell.name] = event
            return
        self._running.pop(cell.name, None)
        self._open.pop(cell.name, None)
        group.running -= 1
        if event.kind == "done":
            self._finish(group, event.evaluations, event.seconds)
        else:
            group.failed += 1
            self.failures.append((cell, event.why))

    def eta(self) -> float | None:
        """Estimated seconds until all cells have ended; None while nothing tells.

        A cell takes as long as the finished ones of its group did on average; where there is none,
        as long as a running one of its group will, or else as the mean of what is known.
        """
        known = {key: t for key, group in self._groups.items() if (t := self._time(group))}
        if not known:
            return None
        mean = sum(known.values()) / len(known)
        left = []
        for name, cell in self._open.items():
            whole = known.get((cell.problem, cell.label), mean)
            event = self._running.get(name)
            if event is not None and event.eta is not None:
                left.append(event.eta)
            else:
                left.append(max(0.0, whole - (event.seconds if event else 0.0)))
        return max(sum(left) / self.jobs, *left) if left else 0.0

    def _group(self, cell: Cell) -> Group:
        key = (cell.problem, cell.label)
        return self._groups.setdefault(key, Group(*key))

    def _finish(self, group: Group, evaluations: int, seconds: float) -> None:
        group.done += 1
        group.evaluations += evaluations
        group.seconds.append(seconds)

    def _time(self, group: Group) -> float | None:
        if group.seconds:
            return sum(group.seconds) / len(group.seconds)
        mine = [
            event.seconds + event.eta
            for event in self._running.values()
            if self._group(event.cell) is group and event.eta is not None
        ]
        return sum(mine) / len(mine) if mine else None
