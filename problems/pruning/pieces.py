"""Loss and divergence from pieces of logits that stay in a processor's cache.

The numbers of :class:`.quality.LanguageReader`, with every logit touched three times: written by
the product, exponentiated in place, summed. A maximum need not be taken out of logits whose
exponentials neither overflow nor vanish; that is looked up afterwards, and mended where it fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from .head import Projection

LOGITS = {"cpu": 1 << 18}  # logits at a time: a megabyte, what a core's own cache holds
ELSEWHERE = 1 << 26
POSITIONS = 256  # at a time at least: with fewer the head's weights are read too often
LEAST_TAIL = 1e-7  # floor of the mass that is left for all other tokens
SAFE = (1e-20, 1e30)  # sums of exponentials that kept single precision


@dataclass(frozen=True, eq=False)
class Teacher:
    """What the dense model said on one micro-batch: its likeliest tokens and the rest.

    Args:
        tokens: Token ids, (B, T-1, k).
        log_probs: Their log-probabilities, (B, T-1, k), float32.
        tail: Log of the remaining mass, (B, T-1), float32; -inf when k covers the vocabulary.
    """

    tokens: torch.Tensor
    log_probs: torch.Tensor
    tail: torch.Tensor

    @cached_property
    def probs(self) -> torch.Tensor:
        """Probabilities of the tokens, (B, T-1, k)."""
        return self.log_probs.exp()

    @cached_property
    def mass(self) -> torch.Tensor:
        """The remaining mass, (B, T-1)."""
        return self.tail.exp()


def in_pieces(
    features: torch.Tensor, projection: Projection, targets: torch.Tensor, teacher: Teacher
) -> torch.Tensor:
    """Cross-entropy and divergence of each sequence, (B, 2), float64.

    Args:
        features: What the head is given at every predicting position, (B, T-1, D).
        projection: The head.
        targets: The tokens that came, (B, T-1).
        teacher: What the dense model said at these positions.
    """
    logits = LOGITS.get(features.device.type, ELSEWHERE)
    size = max(POSITIONS, logits // projection.vocabulary)
    flat = features.reshape(-1, features.shape[-1])
    buffer = flat.new_empty(min(size, len(flat)), projection.vocabulary)
    every = (flat, targets, teacher.tokens, teacher.log_probs, teacher.probs, teacher.tail,
             teacher.mass)  # fmt: skip
    parts = [t.reshape(len(flat), *t.shape[targets.dim() :]).split(size) for t in every[1:]]
    found = [
        _piece(projection, buffer[: len(piece)], piece, *others)
        for piece, *others in zip(flat.split(size), *parts, strict=True)
    ]
    return torch.cat(found).reshape(*targets.shape, 2).double().mean(1)


def _piece(
    projection: Projection, buffer: torch.Tensor, features: torch.Tensor, targets: torch.Tensor,
    tokens: torch.Tensor, log_probs: torch.Tensor, probs: torch.Tensor, tail: torch.Tensor,
    mass: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Cross-entropy and divergence of N positions, (N, 2)."""
    logits = projection(features, buffer)
    said, of_top = logits.gather(1, targets[:, None])[:, 0], logits.gather(1, tokens)
    total, rest = _sums(logits, tokens)
    if not ((total > SAFE[0]) & (total < SAFE[1])).all():
        logits = projection(features, buffer)
        largest = logits.amax(1, keepdim=True)
        said, of_top = said - largest[:, 0], of_top - largest
        total, rest = _sums(logits.sub_(largest), tokens)
    log_total = total.log()
    gap = log_probs - of_top.sub_(log_total[:, None])
    divergence = gap.mul_(probs).sum(1)
    log_rest = (rest / total).clamp_min(LEAST_TAIL).log()
    others = torch.where(mass > 0, mass * (tail - log_rest), 0.0)
    return torch.stack([log_total - said, divergence + others], dim=1)


def _sums(logits: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of exponentials over all tokens and over those not named, (N,); spoils the logits."""
    powers = logits.exp_()
    inside = powers.gather(1, tokens).sum(1)
    none = torch.zeros_like(tokens, dtype=powers.dtype)  # a number takes three times as long
    rest = powers.scatter_(1, tokens, none).sum(1)
    return inside + rest, rest
