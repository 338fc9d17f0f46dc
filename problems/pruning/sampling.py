"""Which of the sequences at hand become calibration text: every sampler is an order of picking.

``random`` keeps the split as it was dealt. ``zipcal`` is the single-domain sampler of ZipCal
(arXiv 2603.16105): greedy maximum coverage over the sets of concepts that the sequences hold, no
model needed. ``perplexity`` takes what the dense model predicts best, least perplexity first. The
paper's sampler for several domains is left out: calibration text comes from one source here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.streams import stream
from evo.suggest import did_you_mean

from . import tensor_files
from .models import Pretrained
from .splits import Order
from .windows import Ids

SAMPLERS = ("random", "zipcal", "perplexity")
POOL = 2000  # candidates looked at in one step; more than that are drawn at random
_MARKERS = "Ġ▁"  # how byte-level BPE and SentencePiece write a space


def order_of(
    name: str, pretrained: Pretrained, *, seed: int, tokens: int, cache: Path | None
) -> Order | None:
    """The order in which a sampler picks, or None for ``random``, which keeps what was dealt.

    Args:
        name: One of ``SAMPLERS``.
        pretrained: The dense model; only ``perplexity`` runs it.
        seed: Decides which candidates are looked at where there are more than ``POOL``.
        tokens: Most tokens of a micro-batch.
        cache: Folder to keep perplexities in, or None.

    Raises:
        ConfigError: No such sampler, or one that the model cannot serve.
    """
    require_known(name)
    rng = stream(seed, "calibration", name)
    if name == "random":
        return None
    if name == "zipcal":
        return lambda rows: coverage(concepts(rows, pretrained.tokenizer), rng)
    if pretrained.kind != "lm":
        raise ConfigError(
            f"sampling 'perplexity' needs a language model; {pretrained.name} is an encoder",
            hint="choose random or zipcal",
        )
    return lambda rows: least(rows, lambda some: _losses(pretrained, some, tokens, cache), rng)


def require_known(name: str) -> None:
    """Refuse a name that is no sampler's.

    Raises:
        ConfigError: It is none; the nearest one is suggested.
    """
    if name not in SAMPLERS:
        raise ConfigError(
            f"no sampling called {name!r}{did_you_mean(str(name), SAMPLERS)}",
            hint=f"calibration text is chosen by {', '.join(SAMPLERS)}",
        )


def coverage(
    sets: Sequence[AbstractSet[Hashable]], rng: np.random.Generator, pool: int = POOL
) -> Iterator[int]:
    """Greedy maximum coverage: always the set with the most concepts not covered so far.

    Ties go to the larger set, then to the earlier one. As long as more than ``pool`` sets remain,
    each step looks at that many of them, drawn uniformly; the paper's code does so, too.

    Args:
        sets: Concepts of each sequence.
        rng: Draws candidates; untouched when there are at most ``pool`` sets.
        pool: Most candidates of one step.

    Yields:
        Positions in ``sets``, each once.
    """
    holders: dict[Hashable, list[int]] = {}
    for position, concepts_here in enumerate(sets):
        for concept in concepts_here:
            holders.setdefault(concept, []).append(position)
    sizes = np.array([len(s) for s in sets], dtype=np.int64)
    gains, left = sizes.copy(), np.arange(len(sets))
    while len(left):
        drawn = left if len(left) <= pool else np.sort(rng.choice(left, pool, replace=False))
        best = int(drawn[np.lexsort((-sizes[drawn], -gains[drawn]))[0]])  # stable: earlier first
        yield best
        left = left[left != best]
        for concept in sets[best]:
            gains[holders.pop(concept, [])] -= 1


def least(
    rows: Sequence[Ids],
    losses: Callable[[Sequence[Ids]], NDArray[np.float64]],
    rng: np.random.Generator,
    pool: int = POOL,
) -> Iterator[int]:
    """Rows by ascending loss; beyond ``pool`` rows that many are drawn, and the rest come last.

    Args:
        rows: Candidates.
        losses: Loss of each of some rows, in nats per token; ties to 1e-4 keep their order.
        rng: Draws candidates; untouched when there are at most ``pool`` rows.
        pool: Most rows whose loss is computed.

    Yields:
        Positions in ``rows``, each once.
    """
    shuffled = np.arange(len(rows)) if len(rows) <= pool else rng.permutation(len(rows))
    drawn = np.sort(shuffled[:pool])
    found = np.round(losses([rows[i] for i in drawn]), 4)
    yield from (int(i) for i in drawn[np.argsort(found, kind="stable")])
    yield from (int(i) for i in shuffled[pool:])


def concepts(rows: Sequence[Ids], tokenizer: Any) -> list[set[str]]:
    """The concepts in each sequence: its distinct tokens, read alone, without case and spaces.

    Special tokens and tokens of nothing but spaces are no concepts.
    """
    present = np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
    special = set(tokenizer.all_special_ids)
    known = {int(i): _concept(tokenizer.decode([int(i)])) for i in present if int(i) not in special}
    return [{known[i] for i in np.unique(row).tolist() if known.get(i)} for row in rows]


def _concept(token: str) -> str:
    return token.lower().strip().strip(_MARKERS).strip()


def _losses(
    pretrained: Pretrained, rows: Sequence[Ids], tokens: int, cache: Path | None
) -> NDArray[np.float64]:
    """Mean cross-entropy of each window under the dense model, kept on disk; (rows,)."""
    ids = torch.from_numpy(np.stack(rows))  # (rows, T)
    digest = hashlib.blake2b(ids.numpy().tobytes(), digest_size=16).hexdigest()
    key = {"model": pretrained.fingerprint, "dtype": str(pretrained.dtype), "windows": digest}
    file = tensor_files.file_of(cache, "losses", key) if cache else None
    known = tensor_files.read(file, key) if file else None
    if known is None:
        parts = ids.split(max(1, tokens // ids.shape[1]))
        known = {"losses": torch.cat([_entropy(pretrained, part) for part in parts])}
        if file:
            tensor_files.write(file, known, key)
    return known["losses"].numpy()


def _entropy(pretrained: Pretrained, ids: torch.Tensor) -> torch.Tensor:
    """Nats per predicted token of each window (B, T) → (B,), float64."""
    ids = ids.to(pretrained.device)
    with torch.inference_mode():
        logits = pretrained.model(input_ids=ids, use_cache=False).logits
        rows = [
            torch.nn.functional.cross_entropy(said[:-1].float(), row[1:])
            for said, row in zip(logits, ids, strict=True)
        ]
    return torch.stack(rows).double().cpu()
