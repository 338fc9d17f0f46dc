"""Seed sets that are judged together; what is simulated is simulated once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Array, Context

from .cascades import Groups, Outcomes, SeedSets, propagated
from .objectives import uneven, uneven_beyond
from .shares import on_own_worlds

if TYPE_CHECKING:
    from .problem import Influence


@dataclass(frozen=True, eq=False)
class SeedBatch:
    """P seed sets; what is simulated is simulated once, when it is first asked for."""

    problem: Influence
    seeds: NDArray[np.int32]  # (P, most), padded with -1
    context: Context

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def n(self) -> int:
        """Nodes of the graph."""
        return self.problem.graph.n

    @property
    def most(self) -> int:
        """Largest seed set allowed."""
        return self.problem.most

    @property
    def limit(self) -> int | None:
        """Most steps."""
        return self.problem.limit

    @cached_property
    def size(self) -> Array:
        """Seeds of each set, (P,)."""
        return (self.seeds >= 0).sum(axis=1).astype(np.float64)

    @cached_property
    def cost(self) -> Array:
        """Sum of the seeds' degrees, (P,)."""
        degrees = np.append(self.problem.degrees, 0)  # -1 costs nothing
        return degrees[self.seeds].sum(axis=1).astype(np.float64)

    @property
    def largest_cost(self) -> float:
        """Sum of the largest out-degrees that a full set can have."""
        largest = np.sort(self.problem.graph.counted_out)[-self.most :]
        return float(largest.sum())

    @cached_property
    def sets(self) -> SeedSets:
        """The sets as bits."""
        return SeedSets(self.seeds, self.n)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What they do in all worlds of the split; without steps where no limit asks for them.

        Communities are told apart where they are known already.
        """
        known = vars(self.problem).get("groups", self.problem.together)
        return self._propagated(known, steps=self.limit is not None)

    @cached_property
    def grouped(self) -> Outcomes:
        """The same by communities, which may be found now."""
        groups, known = self.problem.groups, self.outcomes
        if known.active.shape[2] == groups.count:
            return known
        return self._propagated(groups, steps=self.limit is not None)

    @cached_property
    def spread(self) -> NDArray[np.int64]:
        """Active nodes, seeds among them, (P, W)."""
        return self.outcomes.active.sum(axis=2, dtype=np.int64)

    @cached_property
    def steps(self) -> NDArray[np.int32]:
        """Steps that activated something, (P, W)."""
        known = self.outcomes.steps
        if known is None:
            known = self._propagated(self.problem.together, steps=True).steps
        assert known is not None
        return known

    def _propagated(self, groups: Groups, *, steps: bool) -> Outcomes:
        problem, context = self.problem, self.context
        what = self.sets, problem.model, problem.pool(context), groups, problem.limit
        how: Any = {"steps": steps, "backend": problem.backend, "device": context.device}
        count = problem.worlds[context.split]
        if len(problem.pool(context)) > count:
            return on_own_worlds(*what, count, **how)
        return propagated(*what, **how)

    def unevenness(self, *, natural: bool = False) -> Array:
        """How unevenly communities were reached beyond the seeds, (P, W)."""
        own = self.sets.counts(self.problem.groups)[:, :-1]
        sizes = self.problem.groups.sizes[:-1]
        active = self.grouped.active[:, :, :-1]
        return uneven_beyond(active, own, sizes, natural=natural, backend=self.problem.backend)

    def seed_unevenness(self, *, natural: bool = False) -> Array:
        """How unevenly seeds lie over communities, (P,)."""
        own = self.sets.counts(self.problem.groups)[:, :-1]
        return uneven(own, self.problem.groups.sizes[:-1], natural=natural)
