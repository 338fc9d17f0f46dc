"""The text a pruning problem stands on: disjoint splits in micro-batches, and sentence pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import ConfigError

from . import quality, sampling
from .legible import require_embedded
from .models import Pretrained
from .pairs import Pairs, read_pairs
from .splits import Splits, TextConfig, passage_splits, window_splits
from .sweep import Sweep
from .windows import Passages, Windows, passages

SPLITS = ("calibration", "search", "validation")
ENCODER_LENGTH, WINDOW_LENGTH = 64, 256


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A micro-batch: ids (B, T), and mask (B, T) or None where nothing is padded."""

    ids: torch.Tensor
    mask: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of a split: which of its sequences, in their order, and these in micro-batches."""

    rows: NDArray[np.intp]
    batches: list[Batch]


@dataclass(frozen=True, eq=False)
class PairBatches:
    """Sentence pairs, tokenised: all left sentences, then all right ones."""

    sentences: Passages
    batches: tuple[Batch, ...]
    gold: NDArray[np.float64]

    def cosines(self, sweep: Sweep, choices: NDArray[Any], pooling: str) -> NDArray[np.float64]:
        """Cosine of each pair under every candidate, (n, pairs)."""
        found = quality.embeddings(sweep, choices, self.batches, pooling)
        found = found[:, np.argsort(self.sentences.order.numpy())]
        half = found.shape[1] // 2
        return (found[:, :half] * found[:, half:]).sum(axis=2)


class Data:
    """Micro-batches of three disjoint splits; see :meth:`load`."""

    def __init__(
        self, splits: Splits[Any], *, length: int, tokens_at_once: int, causal: bool, pooling: str,
        pairs: Mapping[str, PairBatches], window: int | None,
    ) -> None:  # fmt: skip
        self.length, self.tokens_at_once, self.pooling = length, tokens_at_once, pooling
        self.facts = dict(splits.facts)
        sides = {name: getattr(splits, name) for name in SPLITS}
        self.fingerprints = {name: side.fingerprint for name, side in sides.items()}
        self._sides = sides
        self._batches = {name: _batches(side, tokens_at_once) for name, side in sides.items()}
        self._parts: dict[str, list[Part]] = {}
        self._pairs = pairs
        self.attended = _attended(sides["search"], causal, window)

    @classmethod
    def load(
        cls, pretrained: Pretrained, *, sources: Mapping[str, Any], separator: str | None,
        length: int | None, sizes: Mapping[str, int | str], seed: int, pairs: str | None,
        validation_pairs: str | None, pooling: str | None, tokens_at_once: int,
        sampled: str = "random", cache: Path | None = None,
    ) -> Data:  # fmt: skip
        """Read, tokenise and split the text for a model.

        Raises:
            DataError: Text is missing, empty, too short, or nothing that the tokenizer can read.
            ConfigError: Settings contradict the model.
        """
        causal = pretrained.kind == "lm"
        length = _length(pretrained, length)
        unknown = [k for k in sizes if k not in SPLITS]
        if unknown:
            raise ConfigError(f"sizes has no entry {unknown[0]!r}; it has {', '.join(SPLITS)}")
        settings: dict[str, Any] = dict(sources, separator=separator, length=length, seed=seed)
        config = TextConfig(sizes=dict(sizes), **settings)  # type: ignore[arg-type]
        made: Any = window_splits if causal else passage_splits
        if (pairs or validation_pairs) and causal:
            raise ConfigError("pairs are judged with sentence encoders; this is a language model")
        order = sampling.order_of(
            sampled, pretrained, seed=seed, tokens=tokens_at_once, cache=cache
        )
        splits = made(pretrained.tokenizer, config, order)
        require_embedded(max(int(getattr(splits, side).ids.max()) for side in SPLITS), pretrained)
        return cls(
            splits, length=length, tokens_at_once=tokens_at_once, causal=causal,
            pooling=pooling_of(pretrained.folder, pooling),
            pairs=_pairs(pretrained, pairs, validation_pairs, tokens_at_once),
            window=getattr(pretrained.config, "sliding_window", None),
        )  # fmt: skip

    def batches(self, split: str) -> list[Batch]:
        """Micro-batches of a split, always the same objects."""
        return self._batches[split]

    def parts(self, split: str) -> list[Part]:
        """The same sequences in fair parts, see :func:`fair_parts`, always the same objects."""
        if split not in self._parts:
            side = self._sides[split]
            self._parts[split] = [
                Part(rows, _batches(side.take(rows.tolist()), self.tokens_at_once))
                for rows in fair_parts(len(side))
            ]
        return self._parts[split]

    def pairs(self, split: str) -> PairBatches | None:
        """Sentence pairs of a split, or None."""
        return self._pairs.get(split)

    @property
    def pairs_fingerprint(self) -> str | None:
        """Hash of the tokenised pairs of all splits, or None without pairs."""
        return "-".join(p.sentences.fingerprint for p in self._pairs.values()) or None

    def uniform(self, sequences: int, length: int) -> Batch:
        """A micro-batch of that many sequences of that many tokens, made of the search text."""
        ids = torch.cat(
            [
                b.ids[b.mask.bool()] if b.mask is not None else b.ids.reshape(-1)
                for b in self.batches("search")
            ]
        )
        wanted = sequences * length
        ids = ids.repeat(-(-wanted // len(ids)))[:wanted].reshape(sequences, length)
        return Batch(ids, None)


def fair_parts(n: int) -> list[NDArray[np.intp]]:
    """Rows in parts of 1/16, 1/16, 1/8, 1/4 and 1/2 of n, each spread evenly over all of them.

    As many of the parts, from the first on, are a fair and ever larger sample of rows in any order,
    such as that of a text or of lengths. Fewer than 16 rows are one part.
    """
    if n < 16:
        return [np.arange(n, dtype=np.intp)]
    place = np.arange(n, dtype=np.intp) % 16
    parts = (place == 8, place == 0, place % 8 == 4, place % 4 == 2, place % 2 == 1)
    return [np.flatnonzero(part) for part in parts]


def _batches(side: Any, tokens: int) -> list[Batch]:
    if isinstance(side, Windows):
        per_batch = max(1, tokens // side.ids.shape[1])
        return [Batch(part.ids, None) for part in side.chunks(per_batch)]
    return [Batch(p.ids, None if p.mask.all() else p.mask) for p in side.chunks(tokens=tokens)]


def _length(pretrained: Pretrained, length: int | None) -> int:
    limit = getattr(pretrained.config, "max_position_embeddings", None)
    wanted = length or (WINDOW_LENGTH if pretrained.kind == "lm" else ENCODER_LENGTH)
    if length is not None and (not isinstance(length, int) or length < 2):
        raise ConfigError(f"length must be a whole number of at least 2 tokens, got {length!r}")
    if limit and wanted > limit:
        if length is not None:
            raise ConfigError(
                f"length is {length} tokens, but {pretrained.name} takes at most {limit}"
            )
        return int(limit)
    return wanted


def _attended(side: Any, causal: bool, window: int | None) -> float:
    """Mean number of positions a token attends to."""
    if isinstance(side, Passages):
        lengths = side.lengths.double()
        return float((lengths * lengths).sum() / lengths.sum())
    length = side.ids.shape[1]
    if not causal:
        return float(length)
    seen = np.arange(1, length + 1)
    return float(np.minimum(seen, window).mean() if window else seen.mean())


def pooling_of(folder: Path, asked: str | None) -> str:
    """How a sentence encoder pools: what the user asked for, what its folder says, else the mean.

    Raises:
        ConfigError: An unknown way.
    """
    if asked is not None:
        if asked not in ("mean", "cls", "last"):
            raise ConfigError(f"pooling must be 'mean', 'cls' or 'last', got {asked!r}")
        return asked
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    try:
        said = dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    known = {"cls_token": "cls", "lasttoken": "last", "mean_tokens": "mean"}
    chosen = [key for key, on in said.items() if key.startswith("pooling_mode_") and on is True]
    unknown = [key for key in chosen if key.removeprefix("pooling_mode_") not in known]
    if unknown or len(chosen) > 1:
        raise ConfigError(
            f"{file} pools by {' and '.join(unknown or chosen)}, which is not offered",
            hint="choose one with the setting pooling: mean, cls or last",
        )
    return known[chosen[0].removeprefix("pooling_mode_")] if chosen else "mean"


def _pairs(
    pretrained: Pretrained, search: str | None, validation: str | None, tokens: int
) -> dict[str, PairBatches]:
    """Pairs for search and validation; of a single file every fourth pair is for validation."""
    if search is None:
        return {}
    seen = read_pairs(search)
    if validation is not None:
        unseen = read_pairs(validation)
    else:
        rows = list(range(len(seen)))
        unseen = seen.take(rows[3::4] or rows)
        seen = seen.take([r for r in rows if r % 4 != 3])
    sides = {"search": seen, "validation": unseen}
    return {side: _pair_batches(found, pretrained, tokens) for side, found in sides.items()}


def _pair_batches(pairs: Pairs, pretrained: Pretrained, tokens: int) -> PairBatches:
    limit = min(512, getattr(pretrained.config, "max_position_embeddings", None) or 512)
    sentences = passages([*pairs.left, *pairs.right], pretrained.tokenizer, length=min(limit, 128))
    return PairBatches(sentences, tuple(_batches(sentences, tokens)), pairs.gold)
