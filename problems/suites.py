"""Standard suites by pymoo's classes: DTLZ, WFG, MW and ZDT5, with fronts that need no network.

Sources: Deb, Thiele, Laumanns and Zitzler, *Scalable test problems for evolutionary multiobjective
optimization*, 2005 (DTLZ); Huband, Hingston, Barone and While, *A review of multiobjective test
problems and a scalable test problem toolkit*, 2006 (WFG); Ma and Wang, *Evolutionary constrained
multiobjective optimization: test suite construction and performance comparisons*, 2019 (MW);
Zitzler, Deb and Thiele, *Comparison of multiobjective evolutionary algorithms*, 2000 (ZDT5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Array, Constraint, Context, Objective
from evo.space import Mask, Real, SearchSpace

SIZES = {"dtlz": range(1, 8), "wfg": range(1, 10), "mw": range(1, 15), "zdt": (5,)}
MOST = 15
"""Objectives at most."""

_GRID = 1000  # positions and distances at which fronts of MW are sought


@dataclass(frozen=True, eq=False)
class SuiteBatch:
    """n decoded candidates, judged together when first asked."""

    problem: Suite
    x: Any

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def judged(self) -> tuple[Array, Array]:
        """Objectives (n, m), and constraints (n, c) that hold up to 0."""
        return self.problem.evaluate(self.x)


class Suite:
    """A problem of a suite, all objectives minimised.

    Args:
        suite: ``"dtlz"``, ``"wfg"``, ``"mw"`` or ``"zdt"``.
        number: Which of it.
        n_objectives: m, 2 to 15; by default 3 for DTLZ, WFG and MW 4, 8 and 14, which alone may be
            scaled, and 2 for the others.
        n_variables: d; by default what the papers use: m + 4 for DTLZ1, m + 9 for DTLZ2 to 6,
            m + 19 for DTLZ7; 2(m − 1), at least 4, of place and 20 of distance for WFG; 15 for MW
            of two objectives, else m + 12; 80 bits for ZDT5.

    Raises:
        ConfigError: There is no such problem, or none of this size.
    """

    def __init__(
        self, suite: str, number: int, n_objectives: int | None = None,
        n_variables: int | None = None,
    ) -> None:  # fmt: skip
        if number not in SIZES.get(suite, ()):
            raise ConfigError(f"there is no problem {number} in suite {suite!r}")
        self.suite, self.number = suite, number
        scales = suite in ("dtlz", "wfg") or (suite == "mw" and number in (4, 8, 14))
        m = n_objectives if n_objectives is not None else 3 if scales else 2
        if not 2 <= m <= MOST or (not scales and m != 2):
            allowed = f"2 to {MOST} objectives" if scales else "2 objectives"
            raise ConfigError(f"{self._name} has {allowed}, got {m}")
        self._pymoo = self._built(m, n_variables)
        self.space = SearchSpace((self._part(),))
        self.objectives = tuple(Objective(f"f{j + 1}", "min", partial(_value, j)) for j in range(m))
        self.constraints = tuple(
            Constraint(f"g{j + 1}", partial(_limit, j)) for j in range(self._pymoo.n_ieq_constr)
        )

    def batch(self, genomes: Genomes, context: Context) -> SuiteBatch:
        """Decode n genomes."""
        self.space.check(genomes)
        return SuiteBatch(self, genomes["x"])

    def evaluate(self, x: Any) -> tuple[Array, Array]:
        """Objectives (n, m) and constraints (n, c) of points of shape (n, d)."""
        c = self._pymoo.n_ieq_constr
        if not len(x):
            return np.zeros((0, len(self.objectives))), np.zeros((0, c))
        wanted = ["F", "G"] if c else ["F"]
        with np.errstate(divide="ignore", invalid="ignore"):  # angles of points on an axis
            found = self._pymoo.evaluate(x, return_values_of=wanted)
        return (found[0], found[1]) if c else (found, np.zeros((len(x), 0)))

    def front(self, n: int = 500) -> Array:
        """Points of the true front, about n of them or fewer where it has gaps, shape (k, m).

        Raises:
            ConfigError: The front is not known in closed form for so many objectives.
        """
        m = len(self.objectives)
        if self.suite == "zdt":
            ones = np.arange(1.0, 32.0)  # one plus the ones of the first part
            return np.stack([(ones - 1) / 30, (10 / ones - 10 / 31) / (10 - 10 / 31)], axis=1)
        unknown = {("dtlz", 5): 3, ("dtlz", 6): 3, ("wfg", 3): 2}
        unknown |= {("mw", k): 2 for k in range(1, 15)}
        if m > unknown.get((self.suite, self.number), MOST):
            raise ConfigError(f"the front of {self._name} with {m} objectives is not known here")
        if self.suite == "mw":
            return self._constrained(n)
        return (dtlz_front if self.suite == "dtlz" else _wfg)(self.number, n, m)

    def describe(self) -> Mapping[str, Any]:
        """Title for people."""
        return {"title": f"{self._name} with {len(self.objectives)} objectives"}

    @property
    def _name(self) -> str:
        return f"{self.suite.upper()}{self.number}"

    def _built(self, m: int, d: int | None) -> Any:
        """The problem by pymoo."""
        from pymoo.problems import get_problem

        name = f"{self.suite}{self.number}"
        k = 4 if m == 2 else 2 * (m - 1)  # of place, in WFG
        least = {"dtlz": m, "wfg": k + 2, "mw": m, "zdt": 80}[self.suite]
        if self.suite == "zdt" and d not in (None, 80):
            raise ConfigError(f"ZDT5 has 80 bits, got {d}")
        if d is not None and d < least:
            raise ConfigError(f"{self._name} needs at least {least} variables, got {d}")
        if self.suite == "wfg" and self.number in (2, 3) and d is not None and (d - k) % 2:
            raise ConfigError(f"{self._name} needs {k} variables and an even number more, got {d}")
        if self.suite == "zdt":
            return get_problem(name)
        if self.suite == "dtlz":
            usual = m + {1: 4, 7: 19}.get(self.number, 9)
            return get_problem(name, n_var=d or usual, n_obj=m)
        if self.suite == "wfg":
            return get_problem(name, n_var=d or k + 20, n_obj=m)
        scaled = {"n_obj": m} if self.number in (4, 8, 14) else {}
        return get_problem(name, n_var=d or (15 if not scaled else m + 12), **scaled)

    def _part(self) -> Real | Mask:
        if self.suite == "zdt":
            return Mask("x", self._pymoo.n_var)
        return Real("x", self._pymoo.xl.astype(np.float64), self._pymoo.xu.astype(np.float64))

    def _constrained(self, n: int) -> Array:
        """Best feasible values over a grid of places and distances, both exact to a thousandth.

        Objectives of MW depend on the first variable and on one distance only, at least 1, that all
        others decide; it is put in directly.
        """
        problem = self._built(2, None)
        place = np.linspace(0, 1, 4 * _GRID + 1) * float(problem.xu[0])
        best: list[Array] = []
        for distance in np.linspace(1.0, 2.5, _GRID + 501):
            x = np.zeros((len(place), problem.n_var))
            x[:, 0] = place
            for name in ("g1", "g2", "g3"):
                setattr(problem, name, lambda rows, d=distance: np.full(len(rows), d))
            with np.errstate(divide="ignore", invalid="ignore"):
                f, g = problem.evaluate(x, return_values_of=["F", "G"])
            best.append(f[(g <= 1e-9).all(axis=1) & np.isfinite(f).all(axis=1)])
        found = _efficient(np.concatenate(best))
        return found[np.linspace(0, len(found) - 1, min(n, len(found))).round().astype(int)]


def dtlz_front(number: int, n: int, m: int) -> Array:
    """About n points of the front of a DTLZ problem with m objectives, 5 and 6 up to three."""
    if number == 1:
        return 0.5 * _simplex(n, m)
    if number < 5:
        return _on_sphere(_simplex(n, m))
    if number < 7:  # for three objectives a quarter of a circle: the first two are equal
        angle = np.linspace(0, np.pi / 2, n)
        if m == 2:
            return np.stack([np.cos(angle), np.sin(angle)], axis=1)
        side = np.cos(angle) / np.sqrt(2)
        return np.stack([side, side, np.sin(angle)], axis=1)
    place = _cube(n, m - 1)
    last = 2 * m - (place * (1 + np.sin(3 * np.pi * place))).sum(axis=1)
    return _efficient(np.column_stack([place, last]))


def _wfg(number: int, n: int, m: int) -> Array:
    scale = np.arange(2.0, 2 * m + 1, 2)
    if number > 3:
        return scale * _on_sphere(_simplex(n, m))
    if number == 3:
        return scale * _simplex(n, m)
    x = _cube(n, m - 1)
    near, far = 1 - np.cos(x * np.pi / 2), 1 - np.sin(x * np.pi / 2)
    first = x[:, 0]
    if number == 1:
        last = 1 - first - np.cos(10 * np.pi * first + np.pi / 2) / (10 * np.pi)
    else:
        last = 1 - first * np.cos(5 * np.pi * first) ** 2
    shapes = [near.prod(axis=1)]
    shapes += [near[:, : m - j].prod(axis=1) * far[:, m - j] for j in range(2, m)]
    return _efficient(scale * np.column_stack([*shapes, last]))


def _simplex(n: int, m: int) -> Array:
    """N points with parts of at least 0 that add up to 1, evenly spread: spacings of _cube's."""
    inner = np.sort(_cube(n, m - 1), axis=1)
    edges = np.zeros((n, 1)), np.ones((n, 1))
    return np.diff(np.concatenate([edges[0], inner, edges[1]], axis=1), axis=1)


def _cube(n: int, d: int) -> Array:
    """N evenly spread points in [0, 1]^d; on a line both ends are among them."""
    if d == 1:
        return np.linspace(0, 1, n)[:, None]
    from scipy.stats import qmc

    return qmc.Halton(d, scramble=False).random(n)


def _on_sphere(points: Array) -> Array:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _efficient(points: Array) -> Array:
    """Rows that no other dominates, by rising first value."""
    import moocore

    return np.unique(points[moocore.is_nondominated(np.ascontiguousarray(points))], axis=0)


def _value(j: int, batch: SuiteBatch) -> Array:
    return batch.judged[0][:, j]


def _limit(j: int, batch: SuiteBatch) -> Array:
    return batch.judged[1][:, j]
