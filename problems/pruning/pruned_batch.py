"""n pruned models, decoded: what every objective of a pruning problem is given."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Context

from . import quality

if TYPE_CHECKING:
    from .data import Batch
    from .searches import Mixed


class PrunedBatch:
    """n pruned models, decoded; quality is computed when it is asked for, once for all objectives.

    Attributes:
        choices: Variant index per site, (n, S).
        params, macs, weight_bytes, kv_bytes: Cost per site, (n, S).
        base: Cost of everything outside the sites.
        sites: The site table: ``sites.name``, ``sites.kind``, ``sites.depth``, each of length S.
        context: Where and on what it is judged.
    """

    def __init__(self, problem: Mixed, choices: NDArray[Any], context: Context) -> None:
        self.problem, self.context = problem, context
        self.choices = choices
        self.sites = problem.table
        self.base = problem.table.base
        self.params = self._costs("params")
        self.macs = self._costs("macs")
        self.weight_bytes = self._costs("weight_bytes")
        self.kv_bytes = self._costs("kv_bytes")
        self._read: NDArray[np.float64] | None = None  # (n, B, width), NaN where not judged
        self._judged = np.zeros((len(choices), len(self.pieces)), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.choices)

    def _costs(self, name: str) -> NDArray[np.float64]:
        return self.sites.costs(name, self.choices)

    @property
    def readings(self) -> NDArray[np.float64]:
        """Cross-entropy and KL, or drift, per candidate and sequence, (n, B, 2 or 1)."""
        if not self._judged.any():  # in one pass, which may read each block's weights from a file
            self.read[:] = self._swept(self.choices, range(len(self._batches)))
            self._judged[:] = True
        for piece in range(len(self.pieces)):
            self.judge(np.arange(len(self), dtype=np.intp), piece)
        return self.read

    @property
    def read(self) -> NDArray[np.float64]:
        """Readings so far, NaN where a sequence has not been judged, (n, B, 2 or 1)."""
        if self._read is None:
            sequences = sum(len(batch.ids) for batch in self._batches)
            width = self.problem.reader(self.context.split).width
            self._read = np.full((len(self), sequences, width), np.nan)
        return self._read

    @property
    def _batches(self) -> list[Batch]:
        """Micro-batches that are judged."""
        return self.problem.data.batches(self.context.split)[: self._parts[-1].stop]

    @cached_property
    def pieces(self) -> list[NDArray[np.intp]]:
        """Sequences of each piece, which spans the text."""
        ends = np.cumsum([0, *(len(batch.ids) for batch in self._batches)])
        return [np.arange(ends[part.start], ends[part.stop]) for part in self._parts]

    @cached_property
    def _parts(self) -> list[range]:
        """Micro-batches of each piece, as many pieces as make up the share that is asked for."""
        data, split = self.problem.data, self.context.split
        parts = data.pieces(split)
        sizes = [sum(len(data.batches(split)[i].ids) for i in part) for part in parts]
        enough = np.cumsum(sizes) >= self.context.fidelity * sum(sizes) - 0.5
        return parts[: int(enough.argmax()) + 1]

    def judge(self, rows: NDArray[np.intp], piece: int) -> None:
        """Judge one piece of the text for some candidates, but for what is judged already."""
        todo = rows[~self._judged[rows, piece]]
        if len(todo):
            found = self._swept(self.choices[todo], self._parts[piece])
            self.read[np.ix_(todo, self.pieces[piece])] = found
            self._judged[todo, piece] = True

    def _swept(self, choices: NDArray[Any], batches: range) -> NDArray[np.float64]:
        """Readings of some candidates on some micro-batches."""
        sweep = self.problem.sweep(self.context.device)
        return sweep(choices, self._batches, self.problem.reader(self.context.split), batches)

    def taken(self, rows: NDArray[np.intp]) -> PrunedBatch:
        """Some of the candidates, with what was judged of them."""
        other = PrunedBatch(self.problem, self.choices[rows], self.context)
        other._read, other._judged = self.read[rows], self._judged[rows]
        return other

    @cached_property
    def perplexity(self) -> NDArray[np.float64]:
        """Exponential of the mean cross-entropy, (n,); infinite where it overflows."""
        return perplexity(self.readings[:, :, 0].mean(1))

    @cached_property
    def spearman(self) -> NDArray[np.float64]:
        """Rank correlation × 100 of the cosine of sentence pairs with people's scores, (n,)."""
        pairs = self.problem.data.pairs(self.context.split)
        assert pairs is not None
        sweep = self.problem.sweep(self.context.device)
        cosines = pairs.cosines(sweep, self.choices, self.problem.data.pooling)
        return quality.spearman(cosines, pairs.gold)


def perplexity(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential of mean cross-entropies; infinite where it overflows."""
    with np.errstate(over="ignore"):
        return np.exp(loss)
