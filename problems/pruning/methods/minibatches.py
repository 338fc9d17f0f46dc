"""Fitness on a few tokens drawn anew each time, as EvoPress's stages want it (arXiv 2410.14649).

A minibatch has exactly the tokens asked for: sequences of the pool in random order, none twice, the
last one cut. All candidates of a stage are judged on it in one sweep. Losses are in float32 and
averaged in float64; the divergence is the one of :class:`..quality.LanguageReader`, which treats
all but the teacher's likeliest tokens as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import ConfigError
from operators import RNG

from .. import quality
from ..data import Batch
from ..searches import Mixed
from ..sweep import Reader, Sweep
from ..windows import Passages, padded
from .staged import Rows

COLUMNS = {"ppl": 0, "kl": 1, "drift": 0}  # what a reader gives


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Some tokens.

    Args:
        batches: Micro-batches.
        reader: Reads their sequences.
        weights: Of each sequence, (B,): how many predictions or, of encoders, tokens it has.
        lone: Whether a sequence was cut to a single token, of which nothing is predicted.
    """

    batches: Sequence[Batch]
    reader: Reader
    weights: NDArray[np.float64]
    lone: bool = False


class Pool(Protocol):
    """The sequences that minibatches are drawn from."""

    tokens: int

    def draw(self, tokens: int, rng: RNG) -> Minibatch:
        """A minibatch of exactly so many tokens, at least 2 and at most all."""
        ...


class Fitness:
    """Judges candidates of one problem on minibatches of its search text.

    Args:
        problem: Its sweep is left alone.
        fitness: ``kl`` or ``ppl`` for language models, ``drift`` for encoders; None is the first.
        rng: Draws the minibatches.
        upstream: A sequence cut to one token turns ``ppl`` into NaN, as in the published code.

    Raises:
        ConfigError: The model has no such fitness.
    """

    def __init__(
        self, problem: Mixed, fitness: str | None, rng: RNG, *, upstream: bool = False
    ) -> None:
        offered = ("kl", "ppl") if problem.kind == "lm" else ("drift",)
        self._name = offered[0] if fitness is None else fitness
        if self._name not in offered:
            raise ConfigError(
                f"fitness must be {' or '.join(offered)} for {problem.pretrained.name}, "
                f"got {fitness!r}"
            )
        self._rng, self._upstream = rng, upstream
        # A sweep of its own: minibatches never come back, so nothing is worth keeping of them.
        self._sweep = Sweep(problem.pretrained, problem.table, order=problem.sweep_order)
        made = WindowPool if problem.kind == "lm" else PassagePool
        self._pool: Pool = made(problem, self._sweep)
        self._sweep.forget()

    @property
    def available(self) -> int:
        """Tokens of the pool."""
        return self._pool.tokens

    def __call__(self, choices: Rows, tokens: int) -> NDArray[np.float64]:
        """Fitness (n,) of candidates (n, S) on so many tokens, drawn anew."""
        return self.judge(choices, self._pool.draw(tokens, self._rng))

    def judge(self, choices: Rows, minibatch: Minibatch) -> NDArray[np.float64]:
        """Fitness (n,) of candidates (n, S) on a minibatch, sequences weighted by their tokens."""
        if minibatch.lone and self._upstream and self._name == "ppl":
            return np.full(len(choices), np.nan)
        readings = self._sweep(choices, minibatch.batches, minibatch.reader)
        self._sweep.forget()
        weights = minibatch.weights / minibatch.weights.sum()
        found = readings[:, :, COLUMNS[self._name]] @ weights
        with np.errstate(over="ignore"):
            return np.exp(found) if self._name == "ppl" else found


def picked(lengths: NDArray[np.int64], tokens: int, rng: RNG) -> tuple[NDArray[np.intp], int]:
    """Rows in random order that together have so many tokens when the last is cut.

    Args:
        lengths: Tokens of each row.
        tokens: At most all of them.
        rng: Orders the rows.

    Returns:
        The rows, and how many tokens of the last are used.
    """
    rows = rng.permutation(len(lengths))
    ends = np.cumsum(lengths[rows])
    last = int(np.searchsorted(ends, tokens))
    return rows[: last + 1], int(tokens - (ends[last] - lengths[rows[last]]))


class WindowPool:
    """Equally long windows with what the dense language model says at each position."""

    def __init__(self, problem: Mixed, sweep: Sweep) -> None:
        batches = problem.data.batches("search")
        self._at_once = problem.data.tokens_at_once
        self._ids = torch.cat([batch.ids for batch in batches])  # (N, T)
        self._teachers = quality.teachers(sweep, batches)
        self._where = [(i, row) for i, batch in enumerate(batches) for row in range(len(batch.ids))]
        self.tokens = self._ids.numel()

    def draw(self, tokens: int, rng: RNG) -> Minibatch:
        """Windows in random order, the last one cut; a cut to one token leaves it out."""
        length = self._ids.shape[1]
        rows, cut = picked(np.full(len(self._ids), length), tokens, rng)
        parts = [(rows, length)] if cut == length else [(rows[:-1], length), (rows[-1:], cut)]
        batches, teachers, weights = [], [], []
        for chosen, stop in parts:
            if stop > 1:
                weights += [stop - 1] * len(chosen)
                for some in self._chunks(chosen, stop):
                    batches.append(Batch(self._ids[some, :stop], None))
                    teachers.append(self._teacher(some, stop))
        reader = quality.LanguageReader(teachers)
        return Minibatch(batches, reader, np.array(weights, dtype=np.float64), cut == 1)

    def _chunks(self, rows: NDArray[np.intp], length: int) -> Iterator[NDArray[np.intp]]:
        step = max(1, self._at_once // length)
        return (rows[start : start + step] for start in range(0, len(rows), step))

    def _teacher(self, rows: NDArray[np.intp], length: int) -> quality.Teacher:
        """What the dense model says on the first positions of some windows: no token sees later."""
        where = [self._where[row] for row in rows]
        found = [(self._teachers[batch], row) for batch, row in where]
        return quality.Teacher(
            torch.stack([t.tokens[row, : length - 1] for t, row in found]),
            torch.stack([t.log_probs[row, : length - 1] for t, row in found]),
            torch.stack([t.tail[row, : length - 1] for t, row in found]),
        )


class PassagePool:
    """Passages of their own lengths with the dense encoder's embeddings."""

    def __init__(self, problem: Mixed, sweep: Sweep) -> None:
        batches = problem.data.batches("search")
        self._sweep, self._pooling = sweep, problem.data.pooling
        self._at_once, self._tokenizer = problem.data.tokens_at_once, problem.pretrained.tokenizer
        self._rows = [row for batch in batches for row in _real(batch)]
        self._dense = torch.cat(quality.dense_embeddings(sweep, batches, self._pooling))  # (N, D)
        self._lengths = np.array([len(row) for row in self._rows])
        self.tokens = int(self._lengths.sum())

    def draw(self, tokens: int, rng: RNG) -> Minibatch:
        """Passages in random order, the last one cut, of which the embedding is made anew."""
        rows, cut = picked(self._lengths, tokens, rng)
        ids, dense = [self._rows[row] for row in rows], self._dense[rows]
        if cut < len(ids[-1]):
            ids[-1] = ids[-1][:cut]
            alone = [Batch(torch.from_numpy(ids[-1])[None], None)]
            dense[-1] = quality.dense_embeddings(self._sweep, alone, self._pooling)[0][0]
        passages = padded(ids, self._tokenizer)
        chunks = list(passages.chunks(tokens=self._at_once))
        embeddings = dense[passages.order.to(dense.device)].split([len(c) for c in chunks])
        reader: Any = quality.DriftReader(self._pooling, embeddings)
        weights = passages.lengths.numpy().astype(np.float64)
        return Minibatch([_batch(chunk) for chunk in chunks], reader, weights)


def _real(batch: Batch) -> Iterator[NDArray[np.int64]]:
    """The ids of each row without padding."""
    for i, row in enumerate(batch.ids):
        yield (row if batch.mask is None else row[batch.mask[i].bool()]).numpy()


def _batch(passages: Passages) -> Batch:
    return Batch(passages.ids, None if passages.mask.all() else passages.mask)
