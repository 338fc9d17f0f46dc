"""The real models of the study, their text, and a task on which each scores above chance."""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evo.genomes import Genomes
from problems.pruning.quality import pooled, spearman
from problems.pruning.searches import Mixed

PAIRS = 10  # minimal pairs taken of each of BLiMP's 67 paradigms
EVERY = 3  # every third pair of STS-B's test split
MEDIANS = (3, 8)  # of the time of a model, least and most
AGREE = 1.03  # the two least of these medians must be this close


@dataclass(frozen=True)
class Study:
    """A model with its text.

    Args:
        name: What the tables call it.
        settings: Of the pruning problem; paths are relative to the data folder.
        task: (model, tokenizer, data folder) → per cent; None where it would be at chance.
        task_name: What the task is called.
        quality: Objective that tells how far a model is from the dense one.
    """

    name: str
    settings: dict[str, Any]
    quality: str
    task: Callable[[Any, Any, Path], float] | None = None
    task_name: str = ""

    def problem(self, data: Path, variants: Sequence[str] = ("removal",), seed: int = 0) -> Mixed:
        """The pruning problem on this model."""
        paths = ("model", "calibration", "search", "validation")
        own = {k: str(data / v) if k in paths else v for k, v in self.settings.items()}
        return Mixed(variants=variants, seed=seed, **own)


def latencies(problem: Mixed, choices: NDArray[Any]) -> tuple[float, float]:
    """Milliseconds of a pruned model and of the dense one, timed in turns.

    Of several medians the least counts, since what disturbs the machine only ever adds; medians are
    taken until the least is found twice.

    Args:
        problem: Where the choices belong.
        choices: One row, (S,).
    """
    pair = Genomes({"choices": np.stack([choices, np.zeros_like(choices)])})
    medians: list[NDArray[np.float64]] = []
    while len(medians) < MEDIANS[1]:
        medians.append(problem.confirm(pair, {"latency": None})["latency"])
        least = np.sort(medians, axis=0)
        if len(medians) >= MEDIANS[0] and (least[1] <= AGREE * least[0]).all():
            break
    pruned, dense = np.min(medians, axis=0)
    return float(pruned), float(dense)


def data_folder() -> Path:
    """The folder that ``EVO_DATA`` names."""
    data = os.environ.get("EVO_DATA")
    if not data:
        sys.exit("set EVO_DATA to a folder with models, text, tasks and sts")
    return Path(data)


def blimp(model: Any, tokenizer: Any, data: Path) -> float:
    """Share of minimal pairs whose acceptable sentence is likelier, per cent (chance 50)."""
    right = total = 0
    with zipfile.ZipFile(data / "tasks/BLiMP.zip") as archive:
        files = [n for n in archive.namelist() if n.endswith(".jsonl") and "/._" not in n]
        for name in sorted(files):
            lines = archive.read(name).decode().splitlines()
            pairs = [json.loads(line) for line in random.Random(0).sample(lines, PAIRS)]
            good, bad = (
                _log_likelihoods(model, tokenizer, [pair[side] for pair in pairs])
                for side in ("sentence_good", "sentence_bad")
            )
            right += int((good > bad).sum())
            total += PAIRS
    return 100 * right / total


def _log_likelihoods(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Of each text; padding stands behind it, where a causal model does not look."""
    ids = [tokenizer(text)["input_ids"] for text in texts]
    padded = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
    for row, own in zip(padded, ids, strict=True):
        row[: len(own)] = torch.tensor(own)
    with torch.inference_mode():
        log_probs = model(input_ids=padded).logits[:, :-1].float().log_softmax(-1)
    found = log_probs.gather(2, padded[:, 1:, None])[..., 0]
    lengths = torch.tensor([len(own) - 1 for own in ids])
    return (found * (torch.arange(found.shape[1]) < lengths[:, None])).sum(1)


def stsb(model: Any, tokenizer: Any, data: Path) -> float:
    """Spearman × 100 of cosine and score on every third test pair of STS-B."""
    with (data / "sts/stsb-en-test.csv").open(newline="") as file:
        rows = list(csv.reader(file))[::EVERY]
    sides = [_embedded(model, tokenizer, [row[k] for row in rows]) for k in (0, 1)]
    cosines = (sides[0] * sides[1]).sum(1).numpy()[None]
    return float(spearman(cosines, np.array([float(row[2]) for row in rows]))[0])


def _embedded(model: Any, tokenizer: Any, sentences: list[str]) -> torch.Tensor:
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    found = torch.zeros(len(sentences), model.config.hidden_size, dtype=torch.float64)
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        read = tokenizer(
            [sentences[i] for i in chosen], return_tensors="pt", padding=True, truncation=True,
            max_length=128,
        )  # fmt: skip
        with torch.inference_mode():
            hidden = model(**read).last_hidden_state
        found[chosen] = pooled(hidden, read["attention_mask"], "mean")
    return found


STUDIES = {
    "stories260K": Study(
        "stories260K",
        {
            "model": "models/stories260K/hf", "calibration": "text/tinystories/train.txt",
            "search": "text/tinystories/valid.txt", "validation": "text/tinystories/valid.txt",
            "separator": "<|endoftext|>",
            "sizes": {"calibration": 32, "search": 16, "validation": 64},
        },
        "kl",
    ),
    "books2m": Study(
        "books2m",
        {
            "model": "models/books2m", "calibration": "text/books/train.txt.xz",
            "search": "text/books/valid.txt", "validation": "text/books/test.txt",
            "sizes": {"calibration": 32, "search": 16, "validation": 64},
        },
        "kl", blimp, "BLiMP",
    ),
    "MiniLM": Study(
        "MiniLM", {"sizes": {"calibration": 128, "search": 64, "validation": 256}},
        "drift", stsb, "STS-B test",
    ),
}  # fmt: skip
"""By name."""
