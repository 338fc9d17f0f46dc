"""Sentence pairs with a human similarity score, for rank correlations of encoders."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evo.errors import DataError

from .text import read_file

COLUMNS = {
    "sentence1": ("sentence1", "sentence_1", "sentence 1", "s1", "text1", "left"),
    "sentence2": ("sentence2", "sentence_2", "sentence 2", "s2", "text2", "right"),
    "score": ("score", "similarity_score", "similarity", "label", "gold"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """B pairs of sentences and how alike people found them.

    Args:
        left: First sentences.
        right: Second sentences.
        gold: Scores, shape (B,), in whatever unit the file has; larger is more alike.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    gold: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.left)

    @property
    def fingerprint(self) -> str:
        """Hash over sentences and scores."""
        digest = hashlib.blake2b(digest_size=16)
        for pair in zip(self.left, self.right, self.gold.tolist(), strict=True):
            digest.update(repr(pair).encode())
        return digest.hexdigest()

    def take(self, rows: Sequence[int]) -> Pairs:
        """Some of the pairs, in the order of ``rows``."""
        return Pairs(
            tuple(self.left[row] for row in rows),
            tuple(self.right[row] for row in rows),
            self.gold[list(rows)],
        )


def read_pairs(path: str | Path) -> Pairs:
    """Pairs of a table: .csv as sentence, sentence, score; .tsv as score, sentence, sentence.

    A first line that names the columns (``sentence1``, ``sentence2``, ``score`` in any order) is
    obeyed; further columns are then left aside. Both kinds may be packed (.xz, .gz). Quotes have
    a meaning in .csv only.

    Raises:
        DataError: The file is missing, empty or not text, or a line is not two sentences and a
            finite number.
    """
    path = Path(path).expanduser()
    tabbed = ".tsv" in path.suffixes
    rows = _table(path, tabbed=tabbed)
    if not rows:
        raise DataError(f"{path} holds no pairs", hint="expected two sentences and a score a line")
    places = _header(rows[0][1])
    if places is None:
        places = (1, 2, 0) if tabbed else (0, 1, 2)
    elif len(rows) == 1:
        raise DataError(f"{path} holds a header and no pairs")
    else:
        rows = rows[1:]
    left, right, gold = zip(*(_pair(path, n, row, places) for n, row in rows), strict=True)
    return Pairs(left, right, np.array(gold))


def _table(path: Path, *, tabbed: bool) -> list[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank."""
    text = read_file(path)
    if tabbed:
        found = enumerate((line.split("\t") for line in text.split("\n")), start=1)
        return [
            (n, [f.strip("\r") for f in row]) for n, row in found if any(f.strip() for f in row)
        ]
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        return [(reader.line_num, row) for row in reader if any(f.strip() for f in row)]
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is not CSV: {error}") from None


def _header(row: Sequence[str]) -> tuple[int, ...] | None:
    """Places of sentence 1, sentence 2 and score when the line names all three."""
    names = [field.strip().lower() for field in row]
    found = [
        next((i for i, name in enumerate(names) if name in known), -1) for known in COLUMNS.values()
    ]
    return None if -1 in found else tuple(found)


def _pair(
    path: Path, line: int, row: Sequence[str], places: Sequence[int]
) -> tuple[str, str, float]:
    try:
        left, right, score = (row[place].strip() for place in places)
        gold = float(score)
    except (IndexError, ValueError):
        left, right, gold = "", "", math.nan
    if not (left and right and math.isfinite(gold)):
        raise DataError(
            f"{path} line {line} is not two sentences and a score: {' | '.join(row)[:80]!r}",
            hint="a .csv has sentence, sentence, score; a .tsv has score, sentence, sentence; "
            "or either has a header that names them",
        )
    return left, right, gold
