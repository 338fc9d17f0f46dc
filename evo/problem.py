"""What is searched and how it is judged: objectives, constraints, problems, batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, overload, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from operators import RNG

from .errors import ObjectiveError
from .genomes import Genomes
from .space import SearchSpace

Array = NDArray[np.float64]
Goal = Literal["min", "max"]
Split = Literal["search", "validation"]
Tell = Callable[[int, int], None]
"""Told how much is done, and out of how much."""


@runtime_checkable
class Batch(Protocol):
    """n decoded candidates; expensive shared results are cached properties of it.

    A batch may also offer ``failures``, a sentence per candidate on why it has no value, empty
    where it has; read after all objectives were asked.
    """

    def __len__(self) -> int: ...


@runtime_checkable
class Staged(Protocol):
    """A batch whose data can be judged piece by piece; what is judged is never judged again."""

    @property
    def pieces(self) -> Sequence[NDArray[np.intp]]:
        """Which samples each piece of the data holds; each piece is a fair part of the whole."""
        ...

    def judge(self, rows: NDArray[np.intp], piece: int) -> None:
        """Judge one piece of the data for some of the candidates."""
        ...

    def taken(self, rows: NDArray[np.intp]) -> Batch:
        """A batch of some of the candidates that knows what was judged of them."""
        ...


@dataclass(frozen=True, slots=True)
class Objective:
    """How a candidate is judged: a function of the batch, one number per candidate.

    Args:
        name: Identifier; becomes a column of the run file.
        goal: Whether less or more is better.
        fn: Batch → array-like of shape (n,), raw values in ``unit``.
        unit: Unit of the values, for people; empty when there is none.
        resolution: Differences below this are ties; values are rounded to its multiples.
        samples: Where the value follows from a mean over samples of the data: batch → what is
            averaged, (n, b), NaN where a sample has not been judged; None elsewhere. A run may then
            judge a :class:`Staged` batch a few samples at a time.
        of_mean: The value that a mean stands for, rising.
        free: Whether the value follows from the genomes at hardly any cost, without data or device,
            as a count of parameters does. A search that predicts then asks instead of predicting.
    """

    name: str
    goal: Goal
    fn: Callable[[Any], ArrayLike]
    unit: str = ""
    resolution: float = 1e-9
    samples: Callable[[Any], ArrayLike] | None = None
    of_mean: Callable[[Array], Array] = np.asarray
    free: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ObjectiveError(
                f"objective name {self.name!r} must be an identifier; "
                "it becomes a column of the run file"
            )
        if self.goal not in ("min", "max"):
            raise ObjectiveError(
                f"objective {self.name!r} has goal {self.goal!r}; it must be 'min' or 'max'"
            )
        if not (np.isfinite(self.resolution) and self.resolution > 0):
            raise ObjectiveError(
                f"objective {self.name!r} has resolution {self.resolution!r}; it must be above 0"
            )

    def __call__(self, batch: Batch) -> Array:
        """Values of the batch, shape (n,), float64, rounded to the resolution.

        NaN and infinities are kept.

        Raises:
            ObjectiveError: The function raised, or did not return one real number per candidate.
        """
        return round_to(_judge("objective", self.name, self.fn, batch), self.resolution)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A limit on a function of the batch: feasible when ``fn(batch) <= limit``.

    ``free`` is as in :class:`Objective`.
    """

    name: str
    fn: Callable[[Any], ArrayLike]
    limit: float = 0.0
    free: bool = False

    def __call__(self, batch: Batch) -> Array:
        """Violation max(0, value − limit), shape (n,); 0 when feasible.

        Raises:
            ObjectiveError: The function raised, or did not return one real number per candidate.
        """
        return np.maximum(0.0, _judge("constraint", self.name, self.fn, batch) - self.limit)


def round_to(values: Array, resolution: float) -> Array:
    """Nearest multiples of ``resolution``; infinities and NaN pass through, -0.0 becomes 0.0.

    Multiples are formed by division where 1/resolution is (nearly) an integer: 0.1 stays 0.1.
    """
    inverse = round(1.0 / resolution)
    if inverse >= 1 and abs(inverse * resolution - 1.0) < 1e-9:
        return np.round(values * inverse) / inverse + 0.0
    return np.round(values / resolution) * resolution + 0.0


_REDUCE = "reduce over the other axes, for example .sum(axis=1)"


def _judge(what: str, name: str, fn: Callable[[Any], ArrayLike], batch: Batch) -> Array:
    try:
        values = np.asarray(fn(batch))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        if _out_of_memory(error):
            raise
        raise ObjectiveError(f"{what} {name!r} raised {type(error).__name__}: {error}") from error
    if values.dtype == object or not (
        np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_
    ):
        raise ObjectiveError(f"{what} {name!r} returned {values.dtype}; it must return numbers")
    if np.iscomplexobj(values) or values.shape != (len(batch),):
        kind = "complex values of shape" if np.iscomplexobj(values) else "shape"
        raise ObjectiveError(
            f"{what} {name!r} returned {kind} {values.shape}; it must return one value per "
            f"candidate, shape ({len(batch)},)",
            hint=_REDUCE if values.ndim > 1 else None,
        )
    return values.astype(np.float64)


def _out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host through torch, ran out of memory."""
    name = type(error).__name__
    return name == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate memory" in str(error)


@overload
def objective(
    name: str, *, goal: Goal = "min", unit: str = "", resolution: float = 1e-9, free: bool = False
) -> Callable[[Callable[[Any], ArrayLike]], Objective]: ...
@overload
def objective(name: Callable[[Any], ArrayLike], /) -> Objective: ...


def objective(
    name: Any, *, goal: Goal = "min", unit: str = "", resolution: float = 1e-9, free: bool = False
) -> Any:
    """Turn a function of the batch into an :class:`Objective`.

    Example:
        >>> @objective("kept", goal="max", unit="sites")
        ... def kept(batch):
        ...     return (batch.choices == 0).sum(axis=1)
        >>> kept.name
        'kept'
    """
    if callable(name):
        return Objective(str(getattr(name, "__name__", "objective")), "min", cast(Any, name))
    return lambda fn: Objective(name, goal, fn, unit, resolution, free=free)


@dataclass(frozen=True, slots=True)
class Context:
    """Where and on what a batch is judged.

    Args:
        device: ``"cpu"``, ``"cuda:0"``, …
        seed: Root seed, for common random numbers.
        fidelity: Share of the full evaluation data, in (0, 1].
        split: Which data to judge on: what the search sees, or what it never saw.
    """

    device: str = "cpu"
    seed: int = 0
    fidelity: float = 1.0
    split: Split = "search"


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What a method of a problem's own found, to compare a search with.

    Args:
        genomes: To be judged, all of them.
        note: What there is to tell of it: a sentence without its full stop, or nothing.
    """

    genomes: Genomes
    note: str = ""


@runtime_checkable
class Problem(Protocol):
    """The thing searched. Only these four are required.

    A problem may also offer, and the run then uses:

    - ``default_objectives``: names searched when the user names none (else all offered ones);
    - ``configure(name, **settings) -> Objective``: an offered objective with settings;
    - ``starts(n, rng) -> Genomes``: up to n warm-start genomes, best first;
    - ``ladder() -> Genomes``: the uniform baseline, from untouched to smallest;
    - ``baselines() -> Mapping[str, Callable[[Tell], Baseline]]``: methods of its own by name (not
      uniform, random or greedy), each run when baselines are asked for, with somebody to tell how
      much is done; what it finds is judged as the search is, however many evaluations that takes,
      and a ConfigError says why it found nothing;
    - ``fingerprint() -> Mapping[str, str]``: hashes of what it stands on (model, text), which
      resume compares;
    - ``measurements() -> Mapping`` and ``restore(measurements)``: JSON of what was measured on this
      machine and values depend on; the run keeps it and gives it back on resume;
    - ``measure(names, device)``: measure now what these objectives need measured, before any worker
      is given the measurements;
    - ``describe() -> Mapping``: JSON facts for report and `evo show`; its ``notes`` are sentences
      told as a run begins, its ``facts`` are words by name;
    - ``drawing(genomes) -> Mapping``: JSON facts of a picture with what each candidate chose in it,
      recorded as a run ends: ``names``, ``x``, ``y`` and ``group`` of nodes (-1 for none), pairs
      of ``edges`` that are shown of ``edges_in_all``, ``marks`` (nodes of each candidate), and what
      ``nodes``, ``groups`` and ``marked`` nodes are called; or why it is ``left_out``;
    - ``bytes_per_candidate -> int`` and ``bytes_beside -> int``: hints for the chunk planner, what
      one more candidate takes and what judging takes whatever their number;
    - ``spare(bytes)``: how much it may keep in this process for later generations, told before it
      judges unless the run limits its memory;
    - ``work() -> Mapping[str, float]``: counts of what was done in this process so far, which the
      run adds up per generation for `evo profile`; seconds as ``seconds.PART``;
    - ``variation -> Mapping[str, Any]``: settings of the algorithm that suit it: operators by role,
      e.g. ``crossover``, and ``surrogate``; those under ``unguided`` replace them in searches that
      do not predict; the configuration's own come first;
    - ``low_fidelity(names, asked) -> float``: the share of its data, ``asked`` or the next it can
      judge on, that candidates are judged on while the search begins, given as
      ``Context.fidelity``, where they are judged by these objectives and metrics; the least that
      tells enough where ``asked`` is 0, and 1 where a part would save nothing;
    - ``validation -> bool``: whether ``Context.split="validation"`` means other data;
    - ``confirm(genomes, values) -> Mapping[str, Array]``: slower, truer values for a front;
    - ``export(genomes, folder, *, expected) -> Mapping``: build one candidate (n = 1) on disk;
    - ``close()``: release what it holds.
    """

    @property
    def space(self) -> SearchSpace:
        """What can be varied."""
        ...

    @property
    def objectives(self) -> Sequence[Objective]:
        """Everything offered; the run chooses."""
        ...

    @property
    def constraints(self) -> Sequence[Constraint]:
        """Limits that always hold."""
        ...

    def batch(self, genomes: Genomes, context: Context) -> Batch:
        """Decode n candidates; computes nothing expensive."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Results of n candidates.

    Args:
        values: Raw units, shape (n, m): searched objectives first, then recorded metrics.
        violations: Shape (n, c); 0 when feasible.
        ok: Shape (n,); False when the candidate failed.
        seconds: Shape (n,); share of its chunk's time.
        reasons: One string per candidate; empty when ok.
        shares: Share of the samples that was judged, (n,): 1 unless a race ended earlier.
        samples: What objectives average, (n, q, b), where a run races; else None.
    """

    values: Array
    violations: Array
    ok: NDArray[np.bool_]
    seconds: Array
    reasons: tuple[str, ...]
    shares: Array
    samples: Array | None = None


def work_of(problem: Problem) -> dict[str, float]:
    """What a problem counts of its work in this process so far, by name; empty when nothing."""
    tell: Any = getattr(problem, "work", None)
    return dict(tell()) if tell else {}


def describe_part(problem: Problem) -> Mapping[str, Any]:
    """The optional facts of a problem, or an empty mapping."""
    describe: Callable[[], Mapping[str, Any]] | None = getattr(problem, "describe", None)
    return dict(describe()) if describe is not None else {}


__all__ = [
    "RNG", "Array", "Baseline", "Batch", "Constraint", "Context", "Evaluation", "Goal", "Objective",
    "Problem", "Split", "Staged", "Tell", "describe_part", "objective", "round_to", "work_of",
]  # fmt: skip
