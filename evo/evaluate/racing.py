"""Races: candidates that better ones beat with confidence are judged on a part of the data only.

Source: Maron and Moore, "The racing algorithm", 1997; paired comparison on common samples as in
Birattari et al., "A racing algorithm for configuring metaheuristics", GECCO 2002. There one best
candidate is sought. Here a candidate is beaten when a rival, a feasible candidate judged on all
samples before, dominates it: the rival is no worse in all that needs no samples, and better in
every sampled objective with the asked confidence, given how much the differences on the samples
judged so far vary. Rivals are fixed before a generation is judged, so neither the size nor the
order of chunks changes what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..indicators import nondominated
from ..problem import Array, Batch, Staged, round_to
from .judges import Judges

FEWEST = 4  # samples before anybody is beaten: fewer tell nothing about how much they vary


@dataclass(frozen=True, eq=False)
class Rivals:
    """Whom a race is run against.

    Args:
        values: Of the k rivals, raw units, (k, columns).
        samples: What their sampled columns average, (k, q, b).
    """

    values: Array
    samples: Array


@dataclass(frozen=True, eq=False)
class Raced:
    """Results of n candidates; see :class:`evo.problem.Evaluation`.

    ``told`` is what the batch says of candidates without a value, one sentence per candidate.
    """

    values: Array
    violations: Array
    shares: Array
    samples: Array | None
    told: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Race:
    """How a race is run.

    Args:
        judges: What candidates are judged by.
        confidence: Least chance, in (0, 1), with which a candidate that no rival dominates is
            judged on all samples.

    Raises:
        ConfigError: No searched objective has samples.
    """

    judges: Judges
    confidence: float

    def __post_init__(self) -> None:
        searched = self.judges.objectives[: self.judges.n_searched]
        if not any(o.samples for o in searched):
            raise ConfigError(
                "a race needs an objective that is a mean over samples, such as kl or drift; "
                f"{', '.join(o.name for o in searched)} cannot be judged on a part of the data",
                hint="leave evaluator.racing out",
            )

    @cached_property
    def sampled(self) -> list[int]:
        """Columns whose values follow from means over samples, q of them."""
        return [j for j, o in enumerate(self.judges.objectives) if o.samples]

    @cached_property
    def _certain(self) -> list[int]:
        """Searched columns that need no samples."""
        return [j for j in range(self.judges.n_searched) if j not in self.sampled]

    @cached_property
    def _decisive(self) -> list[int]:
        """Which of the q sampled columns are searched."""
        return [k for k, j in enumerate(self.sampled) if j < self.judges.n_searched]

    @cached_property
    def _signs(self) -> Array:
        return np.array([1.0 if o.goal == "min" else -1.0 for o in self.judges.objectives])

    def __call__(self, batch: Batch, rivals: Rivals) -> Raced:
        """Judge n candidates; those that are beaten on a part of the samples only.

        What a beaten candidate would have on all samples is estimated by adding the mean of the
        differences so far to the rival's mean; the estimate is worse than the rival's value.

        Raises:
            ConfigError: The problem's batches cannot be judged piece by piece.
        """
        if not isinstance(batch, Staged):
            raise ConfigError(
                f"a race needs batches that can be judged piece by piece, and "
                f"{type(batch).__name__} cannot",
                hint="leave evaluator.racing out",
            )
        objectives = self.judges.objectives
        values, shares = np.full((len(batch), len(objectives)), np.nan), np.ones(len(batch))
        for j, objective in enumerate(objectives):
            if objective.samples is None:
                values[:, j] = objective(batch)
        running, looks = np.arange(len(batch), dtype=np.intp), _looks(batch.pieces)
        for number in range(len(batch.pieces)):
            batch.judge(running, number)
            if number not in looks or not len(rivals.values):
                continue
            judged = np.concatenate(batch.pieces[: number + 1])
            samples, alive = self.samples(batch)[:, :, judged], np.ones(len(running), np.bool_)
            for slot, row in enumerate(running):
                estimate = self._beaten(values[row], samples[row], judged, rivals, len(looks))
                if estimate is not None:
                    values[row, self.sampled], alive[slot] = estimate, False
                    shares[row] = len(judged) / rivals.samples.shape[2]
            running = running[alive]
        for j in self.sampled:
            values[running, j] = objectives[j](batch.taken(running))
        return Raced(values, self.judges.violations(batch, values), shares, self.samples(batch))

    def samples(self, batch: Batch) -> Array:
        """What the sampled columns average, (n, q, b), NaN where not judged."""
        chosen = [self.judges.objectives[j].samples for j in self.sampled]
        return np.stack([np.asarray(fn(batch), np.float64) for fn in chosen if fn], axis=1)

    def _beaten(
        self, values: Array, samples: Array, judged: NDArray[np.intp], rivals: Rivals, looks: int
    ) -> Array | None:
        """Estimates for the sampled columns of a candidate that a rival beats, (q,); else None.

        Args:
            values: Of the candidate, (columns,); only certain ones are known.
            samples: Of the candidate, those judged so far, (q, j).
            judged: Which ones they are, (j,).
            rivals: Whom it runs against.
            looks: How often it is looked at.
        """
        those = self._rivals_of(values, rivals)
        for rival in those:
            theirs = rivals.samples[rival]
            difference = samples - theirs[:, judged]
            estimate = self._values(theirs.mean(1) + difference.mean(1))
            signs = self._signs[self.sampled]
            risk = (1 - self.confidence) / (looks * len(those))
            lowest = _lower_bound(signs[:, None] * difference, theirs.shape[1], risk)
            behind = signs * (estimate - rivals.values[rival, self.sampled])
            if (lowest[self._decisive] > 0).all() and (behind[self._decisive] > 0).all():
                return estimate
        return None

    def _rivals_of(self, values: Array, rivals: Rivals) -> NDArray[np.intp]:
        """Rivals that are no worse where nothing is sampled, the best of them elsewhere."""
        signs = self._signs
        behind = signs * (rivals.values - values)
        rows = np.flatnonzero((behind[:, self._certain] <= 0).all(1))
        searched = [self.sampled[k] for k in self._decisive]
        if not len(rows):
            return rows
        return rows[nondominated((signs * rivals.values)[rows][:, searched])]

    def _values(self, means: Array) -> Array:
        """Values that means of the sampled columns stand for, (q,)."""
        chosen = [self.judges.objectives[j] for j in self.sampled]
        pairs = zip(chosen, means, strict=True)
        return np.array([round_to(o.of_mean(np.array([m])), o.resolution)[0] for o, m in pairs])


def _looks(pieces: Sequence[NDArray[np.intp]]) -> list[int]:
    """After which pieces candidates are compared: each time the samples have doubled."""
    looks, seen, wanted = [], 0, FEWEST
    for number, piece in enumerate(pieces[:-1]):
        seen += len(piece)
        if seen >= wanted:
            looks.append(number)
            wanted = 2 * seen
    return looks


def _lower_bound(differences: Array, total: int, risk: float) -> Array:
    """What the mean difference over all samples exceeds but for a risk, (q,) from (q, j).

    Student's bound with the correction for a finite population: the samples are drawn without
    replacement from the ``total`` ones that the value is the mean of.
    """
    count = differences.shape[1]
    error = differences.std(1, ddof=1) / np.sqrt(count) * np.sqrt(1 - count / total)
    return differences.mean(1) - _quantile(risk, count - 1) * error


@lru_cache(maxsize=4096)
def _quantile(risk: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(risk, freedom))
