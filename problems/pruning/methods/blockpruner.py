"""BlockPruner: attentions and feed-forwards go one by one, each time the one that costs least.

Zhong et al., *BlockPruner: Fine-grained pruning for large language models* (arXiv 2406.10594). The
paper lets attentions and feed-forwards compete. The comparison of 2SSP (arXiv 2501.17771) removes
as many of the one as of the other; that is the setting ``balance``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.suggest import did_you_mean
from operators import RNG

from ..searches import Mixed
from . import Outcome, weight_count
from .removals import Judge, Losses, Row, removed, require_samples, without_best

Offer = Callable[[Row], list[int]]
"""Which sites may go next."""


@dataclass(frozen=True)
class BlockPruner:
    """Removes submodules one by one until the removed share of weights is nearest to the target.

    Of the two candidates around the target the nearer one is taken, the larger where they tie.
    Sentence encoders are judged by their drift instead of the loss.

    Args:
        samples: Calibration sequences that removals are judged on; none means all.
        balance: ``free`` lets attentions and feed-forwards compete; ``equal`` offers only the kind
            of which fewer are gone, so that their numbers differ by one at most.
    """

    samples: int | None = None
    balance: str = "free"

    def __post_init__(self) -> None:
        require_samples("blockpruner", self.samples)
        if self.balance not in OFFERS:
            raise ConfigError(
                f"balance of method 'blockpruner' must be {' or '.join(map(repr, OFFERS))}, "
                f"got {self.balance!r}{did_you_mean(self.balance, OFFERS)}"
            )

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The chosen submodules are gone; nothing is drawn.

        Raises:
            ConfigError: The target is nearest to the removal of everything.
        """
        other = problem.again(["removal"])
        judge = Losses(other, self.samples)
        shares = np.array([s.place.weight_count() for s in other.table.sites], dtype=np.float64)
        offer = OFFERS[self.balance](other)
        row = descend(
            judge, removed(other), shares / weight_count(other), offer=offer, target=sparsity
        )
        return Outcome(other, row, judge.tokens)


def descend(
    judge: Judge, gone: Row, shares: NDArray[np.float64], *, offer: Offer, target: float
) -> Row:
    """The candidate of a greedy descent whose removed share is nearest to a target, (S,).

    Args:
        judge: Asked once a round, for every site on offer.
        gone: Index of the choice that removes each site, (S,).
        shares: Share of all weights that each site holds, (S,).
        offer: Which sites may go next; the last one that is left never goes.
        target: Share to remove.

    Raises:
        ConfigError: The target is nearest to the removal of everything.
    """
    row = before = np.zeros(len(gone), dtype=np.int16)
    while shares[row == gone].sum() < target:
        if (row != gone).sum() == 1:
            left = shares[row != gone].sum()
            if target > 1 - left / 2:
                raise ConfigError(
                    f"a sparsity of {target:g} is nearest to removing everything; the most that "
                    f"method 'blockpruner' can remove of this model is {1 - left:.4g}"
                )
            return row
        row, before = without_best(judge, row, offer(row), gone), row
    over, under = (abs(shares[r == gone].sum() - target) for r in (row, before))
    nearest = row if over < under else before
    if not (nearest == gone).any():
        raise ConfigError(
            f"a sparsity of {target:g} is nearest to removing nothing; the least that method "
            f"'blockpruner' can remove of this model is {shares.min():.4g}"
        )
    return nearest


def _free(problem: Mixed) -> Offer:
    gone = removed(problem)
    return lambda row: np.flatnonzero(row != gone).tolist()


def _equal(problem: Mixed) -> Offer:
    """Only sites of the kind of which fewer are gone."""
    gone, kinds = removed(problem), np.array(problem.table.kind)

    def offer(row: Row) -> list[int]:
        counts = {kind: int((row == gone)[kinds == kind].sum()) for kind in set(kinds.tolist())}
        fewest = [kind for kind, count in counts.items() if count == min(counts.values())]
        return np.flatnonzero((row != gone) & np.isin(kinds, fewest)).tolist()

    return offer


OFFERS: dict[str, Callable[[Mixed], Offer]] = {"free": _free, "equal": _equal}
