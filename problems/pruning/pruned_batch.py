"""n pruned models, decoded: what every objective of a pruning problem is given."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Context

from . import quality

if TYPE_CHECKING:
    from .data import Part
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
        """Cross-entropy and KL, or drift, per candidate and sequence, (n, B, 2 or 1).

        Of a share of the text, the B sequences are those of the parts that make it up.
        """
        everyone, split = np.arange(len(self), dtype=np.intp), self.context.split
        if len(self) and self.context.fidelity == 1 and not self._judged.any():
            sweep = self.problem.sweep(self.context.device)  # in one pass and larger micro-batches
            batches, reader = self.problem.data.batches(split), self.problem.reader(split)
            self.read[:], self._judged[:] = sweep(self.choices, batches, reader), True
        for piece in range(len(self.pieces)):
            self.judge(everyone, piece)
        if self.context.fidelity == 1:
            return self.read
        return self.read[:, np.concatenate(self.pieces)]

    @property
    def read(self) -> NDArray[np.float64]:
        """Readings so far, NaN where a sequence has not been judged, (n, all sequences, 2 or 1)."""
        if self._read is None:
            sequences = sum(len(p.rows) for p in self.problem.data.parts(self.context.split))
            width = 2 if self.problem.kind == "lm" else 1
            self._read = np.full((len(self), sequences, width), np.nan)
        return self._read

    @property
    def pieces(self) -> list[NDArray[np.intp]]:
        """Sequences of each piece, which spans the text."""
        return [part.rows for part in self._parts]

    @cached_property
    def _parts(self) -> list[Part]:
        """As many parts of the text as make up the share that is asked for."""
        parts = self.problem.data.parts(self.context.split)
        ends = np.cumsum([len(part.rows) for part in parts])
        enough = ends >= self.context.fidelity * ends[-1] - 0.5
        return parts[: int(enough.argmax()) + 1]

    def judge(self, rows: NDArray[np.intp], piece: int) -> None:
        """Judge one piece of the text for some candidates, but for what is judged already."""
        todo = rows[~self._judged[rows, piece]]
        if len(todo):
            ends = np.cumsum([0, *(len(part.batches) for part in self._parts)])
            found = self.problem.sweep(self.context.device)(
                self.choices[todo], [b for part in self._parts for b in part.batches],
                self.problem.reader(self.context.split, parts=len(self._parts)),
                range(ends[piece], ends[piece + 1]),
            )  # fmt: skip
            self.read[np.ix_(todo, self.pieces[piece])] = found
            self._judged[todo, piece] = True

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
