"""n pruned models, decoded: what every objective of a pruning problem is given."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Context

from . import quality

if TYPE_CHECKING:
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

    def __len__(self) -> int:
        return len(self.choices)

    def _costs(self, name: str) -> NDArray[np.float64]:
        return self.sites.costs(name, self.choices)

    @cached_property
    def readings(self) -> NDArray[np.float64]:
        """Cross-entropy and KL, or drift, per candidate and sequence, (n, B, 2 or 1)."""
        sweep = self.problem.sweep(self.context.device)
        batches = self.problem.data.batches(self.context.split)
        reader = self.problem.reader(self.context.split)
        used = max(1, round(len(batches) * self.context.fidelity))
        return sweep(self.choices, batches[:used], reader)

    @cached_property
    def perplexity(self) -> NDArray[np.float64]:
        """Exponential of the mean cross-entropy, (n,); infinite where it overflows."""
        with np.errstate(over="ignore"):
            return np.exp(self.readings[:, :, 0].mean(1))

    @cached_property
    def spearman(self) -> NDArray[np.float64]:
        """Rank correlation × 100 of the cosine of sentence pairs with people's scores, (n,)."""
        pairs = self.problem.data.pairs(self.context.split)
        assert pairs is not None
        sweep = self.problem.sweep(self.context.device)
        cosines = pairs.cosines(sweep, self.choices, self.problem.data.pooling)
        return quality.spearman(cosines, pairs.gold)
