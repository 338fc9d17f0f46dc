"""Token windows for language models and padded passages for encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import DataError

from .text import Text

Ids = NDArray[np.int64]
Begin = int | Literal["auto"] | None


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Token ids of equally long windows, shape (B, T), int64."""

    ids: torch.Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def tokens(self) -> int:
        """B times T."""
        return self.ids.numel()

    @property
    def fingerprint(self) -> str:
        """Hash of shape and ids."""
        return _fingerprint(self.ids.numpy())

    def take(self, rows: slice | Sequence[int]) -> Windows:
        """Some of the windows."""
        return Windows(self.ids[rows])

    def chunks(self, size: int) -> Iterator[Windows]:
        """All windows in order, at most ``size`` at a time."""
        return (Windows(part) for part in self.ids.split(size))


@dataclass(frozen=True, slots=True, eq=False)
class Passages:
    """Passages with the model's own special tokens, shortest first, padded at the right.

    Args:
        ids: Token ids, shape (B, T), int64; the padding id where ``mask`` is False.
        mask: True on real tokens, shape (B, T), bool; every row starts with at least one.
        order: Position of each row in the order the texts came in, shape (B,), int64.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    order: torch.Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def lengths(self) -> torch.Tensor:
        """Real tokens of each row, shape (B,), never falling."""
        return self.mask.sum(dim=1)

    @property
    def tokens(self) -> int:
        """Real tokens in all."""
        return int(self.mask.sum())

    @property
    def fingerprint(self) -> str:
        """Hash of shape, order, lengths and ids; the padding id does not matter."""
        parts = (self.order, self.lengths, self.ids.masked_fill(~self.mask, 0))
        return _fingerprint(*(part.numpy() for part in parts))

    def take(self, rows: slice | Sequence[int]) -> Passages:
        """Some rows, cut to the longest of them; ``order`` still names the original places."""
        longest = int(self.mask[rows].sum(dim=1).max())
        return Passages(self.ids[rows, :longest], self.mask[rows, :longest], self.order[rows])

    def chunks(self, *, tokens: int = 4096, waste: float = 0.15) -> Iterator[Passages]:
        """Consecutive rows of similar length, each chunk cut to its longest row.

        Args:
            tokens: At most so many places, padding included, in a chunk of more than one row.
            waste: At most this share of a chunk's places is padding, in [0, 1).
        """
        lengths = self.lengths.tolist()
        start = real = 0
        for row, length in enumerate(lengths):
            places = (row + 1 - start) * length
            if row > start and (places > tokens or real + length < (1 - waste) * places):
                yield self.take(slice(start, row))
                start, real = row, 0
            real += length
        if lengths:
            yield self.take(slice(start, len(lengths)))

    def restore(self, values: torch.Tensor) -> torch.Tensor:
        """``values``, shape (B, …), put from this order back into that of the texts."""
        return values[torch.argsort(self.order)]


def windows(text: Text, tokenizer: Any, *, length: int, begin: Begin = "auto") -> Windows:
    """All windows of a text: its documents tokenised bare, joined, and cut from the start.

    Tokenised bare means without the special tokens that the tokenizer would add by itself.

    Args:
        text: Documents; the last, incomplete window is dropped.
        tokenizer: A tokenizer of `transformers`.
        length: Tokens T of a window.
        begin: Token that begins every document: ``"auto"`` is the tokenizer's own where a text has
            several documents and none where it has one; a token id; or None.

    Raises:
        DataError: The text is shorter than one window.
    """
    units = tokenised(text, tokenizer, begin)
    rows = cut(units, length)
    if not rows:
        raise DataError(
            f"{text.origin} is shorter than one window: {sum(map(len, units)):,} tokens came, "
            f"{length:,} are needed",
            hint="give more text or a smaller `length`",
        )
    return Windows(torch.from_numpy(np.stack(rows)))


def passages(texts: Sequence[str], tokenizer: Any, *, length: int) -> Passages:
    """Texts with the model's own special tokens, cut to ``length`` tokens, shortest first.

    Equal lengths keep their order. Empty texts keep their special tokens.

    Raises:
        DataError: There is no text, or the tokenizer makes no token of one.
    """
    if not texts:
        raise DataError("passages need at least one text, none came")
    return padded(encoded(texts, tokenizer, length), tokenizer)


def tokenised(text: Text, tokenizer: Any, begin: Begin) -> list[Ids]:
    """Ids of every document, each begun by the begin token if there is one."""
    several = len(text.documents) > 1
    token = (tokenizer.bos_token_id if several else None) if begin == "auto" else begin
    head = [] if token is None else [token]
    found = _call(tokenizer, text.documents, add_special_tokens=False)
    return [np.array(head + ids, dtype=np.int64) for ids in found]


def encoded(texts: Sequence[str], tokenizer: Any, length: int) -> list[Ids]:
    """Ids of every text with special tokens, at most ``length`` of them."""
    if not texts:
        return []
    found = _call(tokenizer, texts, truncation=True, max_length=length)
    if not all(found):
        raise DataError(
            f"the tokenizer makes no token of {texts[[bool(i) for i in found].index(False)]!r}",
            hint="remove empty texts",
        )
    return [np.array(ids, dtype=np.int64) for ids in found]


def _call(tokenizer: Any, texts: Sequence[str], **settings: Any) -> list[list[int]]:
    return tokenizer(
        list(texts), padding=False, return_attention_mask=False, verbose=False, **settings
    )["input_ids"]


def cut(units: Sequence[Ids], length: int) -> list[Ids]:
    """Non-overlapping windows from the start of all units joined."""
    joined = np.concatenate(units) if units else np.zeros(0, np.int64)
    return list(joined[: len(joined) // length * length].reshape(-1, length))


def padded(rows: Sequence[Ids], tokenizer: Any) -> Passages:
    """Rows of ids, shortest first, filled up with the padding token."""
    lengths = np.array([len(row) for row in rows])
    order = np.argsort(lengths, kind="stable")
    ids = np.full((len(rows), lengths.max()), tokenizer.pad_token_id or 0, dtype=np.int64)
    mask = np.arange(lengths.max()) < lengths[order, None]
    ids[mask] = np.concatenate([rows[row] for row in order])
    return Passages(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(order))


def _fingerprint(*arrays: NDArray[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return digest.hexdigest()
