"""Quality read off a sweep: loss and divergence of language models, drift of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .head import Projection
from .pieces import LEAST_TAIL, Teacher, in_pieces
from .sweep import Sweep

TEACHER_TOP = 128
TEACHER_LOGITS = 1 << 22  # at a time, while the dense model is asked


@dataclass(frozen=True)
class TeacherReader:
    """Keeps the dense model's distribution per position as top-k plus tail."""

    kept: list[Teacher]
    top: int = TEACHER_TOP
    width: int = 0

    def __call__(self, index: int, batch: Any, output: torch.Tensor) -> torch.Tensor:
        """Store, and return shape (B, 0)."""
        self.kept.append(self._teacher(output[:, :-1].float()))
        return output.new_zeros((len(output), 0))

    def in_pieces(
        self, index: int, batch: Any, features: torch.Tensor, projection: Projection
    ) -> torch.Tensor:
        """The same from what the head is given, (B, T, D), some positions at a time."""
        shape = (len(features), features.shape[1] - 1)
        flat = features[:, :-1].reshape(-1, features.shape[-1])
        size = max(1, TEACHER_LOGITS // projection.vocabulary)
        out = flat.new_empty(min(size, len(flat)), projection.vocabulary)
        found = [self._teacher(projection(rows, out[: len(rows)])) for rows in flat.split(size)]
        parts = [
            torch.cat([getattr(t, name) for t in found]) for name in ("tokens", "log_probs", "tail")
        ]
        self.kept.append(Teacher(*(p.reshape(*shape, *p.shape[1:]) for p in parts)))
        return features.new_zeros((len(features), 0))

    def _teacher(self, logits: torch.Tensor) -> Teacher:
        """Of logits (…, V)."""
        values, tokens = logits.topk(min(self.top, logits.shape[-1]), dim=-1)
        total, rest = log_masses(logits, tokens)
        log_probs = values - total[..., None]
        covered = log_probs.shape[-1] == logits.shape[-1]
        tail = torch.full_like(rest, -torch.inf) if covered else rest
        return Teacher(tokens, log_probs, tail)


@dataclass(frozen=True)
class LanguageReader:
    """Cross-entropy and KL(dense ‖ pruned) of each sequence, in nats per predicted token.

    The divergence is exact over the dense model's top-k tokens and treats all others as one
    outcome, which bounds the full divergence from below.
    """

    teachers: Sequence[Teacher]
    width: int = 2

    def __call__(self, index: int, batch: Any, output: torch.Tensor) -> torch.Tensor:
        """(B, 2): cross-entropy, divergence; one sequence at a time, which stays in cache."""
        teacher, rows = self.teachers[index], []
        for row, logits in enumerate(output[:, :-1]):  # (T-1, V)
            rows.append(self._sequence(logits.float(), batch.ids[row, 1:], teacher, row))
        return torch.stack(rows)

    def in_pieces(
        self, index: int, batch: Any, features: torch.Tensor, projection: Projection
    ) -> torch.Tensor:
        """The same numbers from what the head is given, (B, T, D), a few positions at a time."""
        targets = batch.ids[:, 1:].to(features.device)
        return in_pieces(features[:, :-1], projection, targets, self.teachers[index])

    def _sequence(
        self, logits: torch.Tensor, targets: torch.Tensor, teacher: Teacher, row: int
    ) -> torch.Tensor:
        total, log_rest = log_masses(logits, teacher.tokens[row])
        entropy = total - logits.gather(-1, targets[:, None].to(logits.device))[:, 0]
        log_q = logits.gather(-1, teacher.tokens[row]) - total[:, None]  # (T-1, k)
        log_p, tail = teacher.log_probs[row], teacher.tail[row]
        divergence = (log_p.exp() * (log_p - log_q)).sum(-1)
        mass = tail.exp()
        rest = torch.where(mass > 0, mass * (tail - log_rest), torch.zeros_like(tail))
        return torch.stack([entropy.double().mean(), (divergence + rest).double().mean()])


def log_masses(logits: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log of the summed exponentials, and of the share that the tokens not named have in them.

    The share is added up, not taken from one: in single precision the difference has no digits
    left where the named tokens have nearly all of the mass.

    Args:
        logits: (…, V).
        tokens: Ids of the tokens that are named, (…, k).

    Returns:
        (…,) each; the share is floored.
    """
    largest = logits.amax(-1, keepdim=True)
    powers = (logits - largest).exp_()
    inside = powers.gather(-1, tokens).sum(-1)
    rest = powers.scatter_(-1, tokens, 0.0).sum(-1)
    total = inside + rest
    return total.log() + largest[..., 0], (rest / total).clamp_min(LEAST_TAIL).log()


@dataclass(frozen=True)
class EmbeddingReader:
    """Sentence embeddings: pooled over real tokens and scaled to length one."""

    pooling: str
    width: int

    def __call__(self, index: int, batch: Any, output: torch.Tensor) -> torch.Tensor:
        """(B, D)."""
        return pooled(output, batch.mask, self.pooling)


@dataclass(frozen=True)
class DriftReader:
    """1 - cosine between the pruned and the dense model's embedding of each sequence."""

    pooling: str
    dense: Sequence[torch.Tensor]  # per micro-batch, (B, D)
    width: int = 1

    def __call__(self, index: int, batch: Any, output: torch.Tensor) -> torch.Tensor:
        """(B, 1)."""
        mine = pooled(output, batch.mask, self.pooling)
        return 1 - (mine * self.dense[index]).sum(-1, keepdim=True)


def pooled(hidden: torch.Tensor, mask: torch.Tensor | None, pooling: str) -> torch.Tensor:
    """Embeddings (B, D) of length one, in float64, from hidden states (B, T, D).

    Args:
        hidden: Last hidden states.
        mask: Real tokens, (B, T), or None.
        pooling: ``mean`` over real tokens, ``cls`` for the first token, ``last`` for the last real
            one.
    """
    hidden = hidden.double()
    real = hidden.new_ones(hidden.shape[:2]) if mask is None else mask.to(hidden)
    if pooling == "cls":
        taken = hidden[:, 0]
    elif pooling == "last":
        last = (real.sum(1) - 1).long()
        taken = hidden[torch.arange(len(hidden), device=hidden.device), last]
    else:
        taken = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    return torch.nn.functional.normalize(taken, dim=-1)


def dense_choices(sweep: Sweep) -> NDArray[np.int16]:
    """The genome that changes nothing, (1, S)."""
    return np.zeros((1, len(sweep.table)), dtype=np.int16)


def teachers(sweep: Sweep, batches: Sequence[Any], top: int = TEACHER_TOP) -> list[Teacher]:
    """The dense language model's distributions on all micro-batches, computed once."""
    kept: list[Teacher] = []
    sweep(dense_choices(sweep), batches, TeacherReader(kept, top))
    return kept


def embeddings(
    sweep: Sweep, choices: NDArray[Any], batches: Sequence[Any], pooling: str
) -> NDArray[np.float64]:
    """Embeddings of all sequences under every candidate, (n, sequences, D)."""
    width = int(sweep.pretrained.config.hidden_size)
    return sweep(choices, batches, EmbeddingReader(pooling, width))


def dense_embeddings(sweep: Sweep, batches: Sequence[Any], pooling: str) -> list[torch.Tensor]:
    """The dense model's embeddings per micro-batch, computed once; on the model's device."""
    found = embeddings(sweep, dense_choices(sweep), batches, pooling)[0]
    stops = np.cumsum([len(b.ids) for b in batches])[:-1]
    device = sweep.pretrained.device
    return [torch.as_tensor(piece, device=device) for piece in np.split(found, stops)]


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation × 100 of each row of ``first`` (n, B) with ``second`` (B,).

    Ties share their mean rank. A row without any spread correlates with nothing and gives 0; a row
    that is not all numbers gives NaN.
    """
    gold = _ranks(second)
    rows = np.array([_ranks(row) for row in first])
    rows -= rows.mean(axis=1, keepdims=True)
    gold -= gold.mean()
    norms = np.sqrt((rows**2).sum(axis=1) * (gold**2).sum())
    found = 100 * np.divide(rows @ gold, norms, out=np.zeros(len(rows)), where=norms > 0)
    return np.where(np.isnan(first).any(axis=1), np.nan, found)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts) + (last - 1))[inverse] / 2.0
