"""Judges removals of blocks and submodules on calibration text, many candidates in one sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import ConfigError

from .. import quality
from ..data import Batch
from ..searches import Mixed

Row = NDArray[np.int16]  # variant index per site, (S,)
Judge = Callable[[NDArray[np.int16]], NDArray[np.float64]]
"""Losses (n,) of candidates (n, S); less is better."""


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross-entropy of each sequence of a language model, in nats per predicted token."""

    width: int = 1

    def __call__(self, index: int, batch: Any, output: torch.Tensor) -> torch.Tensor:
        """(B, 1); one sequence at a time, since logits in float32 are large."""
        rows = []
        for ids, logits in zip(batch.ids, output[:, :-1], strict=True):  # (T-1, V)
            wanted = ids[1:].to(logits.device)
            rows.append(torch.nn.functional.cross_entropy(logits.float(), wanted).double())
        return torch.stack(rows)[:, None]


class Losses:
    """Losses of candidates on calibration text: cross-entropy, or drift for sentence encoders.

    Args:
        problem: The problem whose candidates are judged.
        samples: Judge on that many calibration sequences; None takes all.

    Attributes:
        tokens: Real tokens judged so far, over all candidates.
    """

    def __init__(self, problem: Mixed, samples: int | None = None) -> None:
        self._sweep = problem.sweep(str(problem.pretrained.device))
        self._batches = longest(problem.data.batches("calibration"), samples)
        pooling = problem.data.pooling
        self._reader: Any = CrossEntropy()
        if problem.kind != "lm":
            dense = quality.dense_embeddings(self._sweep, self._batches, pooling)
            self._reader = quality.DriftReader(pooling, dense)
        self.tokens = 0

    def __call__(self, rows: NDArray[np.int16]) -> NDArray[np.float64]:
        """Mean over sequences, (n,); infinite where it is no number."""
        self.tokens += len(rows) * sum(lengths(b).sum() for b in self._batches)
        found = self._sweep(rows, self._batches, self._reader)[:, :, 0].mean(1)
        return np.where(np.isnan(found), np.inf, found)


def lengths(batch: Any) -> NDArray[np.int64]:
    """Real tokens of each sequence of a micro-batch, (B,)."""
    if batch.mask is None:
        return np.full(len(batch.ids), batch.ids.shape[1])
    return batch.mask.sum(1).long().cpu().numpy()


def longest(batches: Sequence[Any], samples: int | None) -> list[Any]:
    """The longest sequences, in their micro-batches; of equally long ones the first.

    Windows of language models are equally long. Passages of encoders lie sorted by length, so
    that the first ones would be the shortest, which say least.
    """
    if samples is None:
        return list(batches)
    owner = np.concatenate([np.full(len(b.ids), i) for i, b in enumerate(batches)])
    chosen = np.argsort(-np.concatenate([lengths(b) for b in batches]), kind="stable")[:samples]
    first = np.searchsorted(owner, np.arange(len(batches)))  # row of each micro-batch's first
    kept = [np.sort(chosen[owner[chosen] == i]) - first[i] for i in range(len(batches))]
    return [_rows(b, rows) for b, rows in zip(batches, kept, strict=True) if len(rows)]


def _rows(batch: Any, rows: NDArray[np.intp]) -> Batch:
    taken = torch.as_tensor(rows)
    return Batch(batch.ids[taken], None if batch.mask is None else batch.mask[taken])


def require_samples(name: str, samples: int | None) -> None:
    """Check a method's setting ``samples``.

    Raises:
        ConfigError: It is no whole number above 0, and not None.
    """
    if samples is not None and (not isinstance(samples, int) or samples < 1):
        raise ConfigError(
            f"samples of method {name!r} must be a whole number of at least 1, got {samples!r}"
        )


def removed(problem: Mixed) -> Row:
    """Index of the choice that removes each site, (S,)."""
    kinds = [[v.kind for v in site.variants] for site in problem.table.sites]
    return np.array([k.index("removal") for k in kinds], dtype=np.int16)


def one_gone(row: Row, sites: Sequence[int], gone: Row) -> NDArray[np.int16]:
    """Candidates that remove one more site each, (len(sites), S)."""
    rows = np.tile(row, (len(sites), 1))
    rows[np.arange(len(sites)), list(sites)] = gone[list(sites)]
    return rows


def without_best(judge: Judge, row: Row, sites: Sequence[int], gone: Row) -> Row:
    """The candidate that loses least by removing one more of some sites; the first where they tie.

    Args:
        judge: Asked once, for all of them.
        row: What is chosen already; not modified.
        sites: Which may go, at least one.
        gone: Index of the choice that removes each site.
    """
    rows = one_gone(row, sites, gone)
    return rows[int(np.argmin(judge(rows)))]


def block_count(sparsity: float, blocks: int, removable: int, method: str) -> int:
    """How many of equally large blocks to remove: the number nearest to the target, halves up.

    Args:
        sparsity: Share of the blocks' weights to remove.
        blocks: Blocks of the model.
        removable: How many of them the method may remove; never all.
        method: For the message.

    Raises:
        ConfigError: The target is nearest to none, or to more than the method may remove.
    """
    count, most = int(sparsity * blocks + 0.5), min(removable, blocks - 1)
    if 1 <= count <= most:
        return count
    if most < 1:
        raise ConfigError(f"method {method!r} can remove none of {blocks} blocks")
    raise ConfigError(
        f"method {method!r} can remove 1 to {most} of {blocks} blocks, a sparsity of "
        f"{1 / blocks:.4g} to {most / blocks:.4g}; {sparsity:g} is nearest to {count}",
        hint="ask for another sparsity, or take a method that removes smaller parts: width, 2ssp",
    )


def chosen(problem: Mixed, sites: Iterable[int]) -> Row:
    """The candidate without some sites, (S,)."""
    gone, row = removed(problem), np.zeros(len(problem.table), dtype=np.int16)
    for site in sites:
        row[site] = gone[site]
    return row
