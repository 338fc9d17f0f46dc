"""A problem whose candidates can do everything to a worker that a candidate should not do."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evo.errors import DataError
from evo.genomes import Genomes
from evo.problem import Context, Objective
from evo.space import Integer, SearchSpace


@dataclass
class Rows:
    """Decoded candidates, (n, 3)."""

    x: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


class Mortal:
    """Three whole numbers, judged by their sum and by how far they lie apart.

    Args:
        deadly: Sum of candidates that kill the process which judges them.
        once: File that is written by the first death and keeps later ones away.
        sick: Sum of candidates that raise.
        hopeless: Sum of candidates that tell of a fault of the set-up.
        fits: How many candidates memory holds at once.
        slow: Seconds per candidate.
        seen: Folder where each process leaves its name.
        stands_on: What the fingerprint says; ``"process"`` differs in every process.
    """

    def __init__(
        self, deadly: int = -1, once: str = "", sick: int = -1, hopeless: int = -1,
        fits: int = 1000, slow: float = 0.0, seen: str = "", stands_on: str = "rock",
    ) -> None:  # fmt: skip
        self.space = SearchSpace(tuple(Integer(name, 0, 30) for name in "xyz"))
        self.objectives = (
            Objective("sum", "min", self._sum),
            Objective("apart", "max", lambda b: np.ptp(b.x, axis=1) * 1.0),
        )
        self.constraints = ()
        self.deadly, self.once, self.sick, self.hopeless = deadly, once, sick, hopeless
        self.fits, self.slow, self.seen, self.stands_on = fits, slow, seen, stands_on
        self.judged = 0

    def batch(self, genomes: Genomes, context: Context) -> Rows:
        if len(genomes) > self.fits:
            raise MemoryError
        x = np.concatenate([genomes[name] for name in "xyz"], axis=1)
        time.sleep(self.slow * len(x))
        if self.seen:
            (Path(self.seen) / str(os.getpid())).touch()
        sums = x.sum(axis=1)
        if self.deadly in sums and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hopeless in sums:
            raise DataError("the text is gone", hint="bring it back")
        self.judged += len(x)
        return Rows(x)

    def _sum(self, batch: Rows) -> np.ndarray:
        if self.sick in batch.x.sum(axis=1):
            raise ValueError(f"cannot stand {self.sick}")
        return batch.x.sum(axis=1) * 1.0

    def work(self) -> dict[str, float]:
        return {"judged": float(self.judged)}

    def fingerprint(self) -> dict[str, str]:
        return {"ground": str(os.getpid()) if self.stands_on == "process" else self.stands_on}
