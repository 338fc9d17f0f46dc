"""Tables and orderings out of what ``run.py`` has written, as Markdown.

    python experiments/methods/tables.py [--out FOLDER]

Writes one file per model in ``tables`` beside this file and prints which
of the orderings that the papers establish hold here.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from models import STUDIES, Study

Lines = list[dict[str, Any]]
HERE = Path(__file__).parent


def read(folder: Path) -> Lines:
    """All lines of all models; of one written twice the last counts."""
    files = [folder / f"{name}.jsonl" for name in STUDIES]
    texts = [file.read_text().splitlines() for file in files if file.exists()]
    lines = [json.loads(text) for text in chain.from_iterable(texts)]
    return list({(x["model"], x["method"], x["target"], x["seed"]): x for x in lines}.values())


def cells(lines: Lines, study: Study) -> dict[tuple[str, float], Lines]:
    """(method, target) → the lines of its seeds that gave a model."""
    found: dict[tuple[str, float], Lines] = defaultdict(list)
    for line in lines:
        if line["model"] == study.name and "error" not in line:
            found[line["method"], line["target"]].append(line)
    return found


def table(lines: Lines, study: Study) -> str:
    """One row per method and target."""
    found = cells(lines, study)
    (dense,) = found["dense", 0.0]
    lm = "perplexity.validation" in dense
    heads = ["method", "target", "removed", study.quality]
    heads += ["perplexity"] if lm else []
    heads += [study.task_name] if study.task else []
    heads += ["params", *(["kv bytes"] if lm else []), "latency"]
    rows = [heads, ["---"] * len(heads)]
    for (method, target), group in found.items():
        row = [method, f"{100 * target:g} %", f"{100 * _middle(group, 'sparsity'):.1f} %"]
        row.append(_spread(group, f"{study.quality}.validation", "{:.4f}"))
        row += [_spread(group, "perplexity.validation", "{:.4g}")] if lm else []
        row += [_spread(group, "task", "{:.1f}")] if study.task else []
        for name in ("params", *(["kv_bytes"] if lm else [])):
            key = f"{name}.validation"
            row.append(f"{_middle(group, key) / dense[key]:.3f}")
        ratio = median(x["latency"] / x["dense_latency"] for x in group)
        rows.append([*row, f"{ratio:.2f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _middle(group: Lines, key: str) -> float:
    return float(median(x[key] for x in group))


def _spread(group: Lines, key: str, form: str) -> str:
    values = sorted(x[key] for x in group)
    middle = form.format(median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(values[0])} to {form.format(values[-1])})"


STRUCTURED = (0.125, 0.25, 0.375, 0.5)
Better = tuple[str, Sequence[str], Sequence[str], Sequence[float]]
ORDERINGS: tuple[Better, ...] = (
    ("Wanda is below magnitude", ["wanda"], ["magnitude"], [0.5, 0.6, 0.7]),
    ("RIA is below Wanda", ["ria"], ["wanda"], [0.5, 0.6, 0.7]),
    ("SparseGPT is below Wanda", ["sparsegpt"], ["wanda"], [0.5, 0.6, 0.7]),
    ("DSnoT is below Wanda", ["dsnot"], ["wanda"], [0.5, 0.6, 0.7]),
    ("OWL is below uniform", ["owl"], ["wanda"], [0.6, 0.7]),
    ("AlphaPruning is below uniform", ["alphapruning"], ["wanda"], [0.6, 0.7]),
    ("NeuroAL is below uniform", ["neuroal"], ["wanda"], [0.6, 0.7]),
    ("ECoFLaP is below uniform", ["ecoflap"], ["wanda"], [0.6, 0.7]),
    ("EvoPress is below uniform", ["evopress-sparsity"], ["sparsegpt"], [0.6, 0.7]),
    ("2SSP is below width only", ["2ssp"], ["width"], [0.25, 0.375, 0.5]),
    ("2SSP is below depth only", ["2ssp"], ["depth", "blockpruner"], [0.25, 0.375, 0.5]),
    ("SubFit is below plain removal", ["subfit"], ["blockpruner"], [0.125, 0.25, 0.375]),
    (
        "SubFit is below contiguous replacement",
        ["subfit"], ["replaceme", "streamline"], [0.125, 0.25, 0.375],
    ),
    ("PIFA is below plain factors", ["pifa"], ["svd"], STRUCTURED),
    ("MPIFA is below PIFA", ["mpifa"], ["pifa"], STRUCTURED),
)  # fmt: skip
"""What is claimed: the best of some methods against the best of others, at some targets."""


def orderings(lines: Lines, study: Study) -> str:
    """Which of them hold in the study's quality on validation text (lower is better)."""
    found = cells(lines, study)
    rows = [["claim", "kept", "figures"], ["---"] * 3]

    def best(methods: Sequence[str], target: float) -> float | None:
        key = f"{study.quality}.validation"
        values = [_middle(found[m, target], key) for m in methods if (m, target) in found]
        return min(values) if values else None

    for claim, ours, others, targets in ORDERINGS:
        pairs = [(t, best(ours, t), best(others, t)) for t in targets]
        known = [(t, a, b) for t, a, b in pairs if a is not None and b is not None]
        if known:
            kept = sum(a < b for _, a, b in known)
            told = ", ".join(f"{100 * t:g} %: {a:.4f} against {b:.4f}" for t, a, b in known)
            rows.append([claim, f"{kept} of {len(known)}", told])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def missing(lines: Lines, study: Study) -> str:
    """What did not fit the model, and why."""
    why: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line["model"] == study.name and "error" in line:
            why[line["method"]].add(line["error"])
    return "\n".join(f"- {method}: {'; '.join(sorted(said))}" for method, said in why.items())


def page(lines: Lines, study: Study) -> str:
    """Everything about one model."""
    parts: list[tuple[str, Callable[[Lines, Study], str]]] = [
        ("Every method alone", table), ("What the papers establish", orderings),
        ("What does not fit", missing),
    ]  # fmt: skip
    made = [(title, fn(lines, study)) for title, fn in parts]
    told = "\n\n".join(f"## {title}\n\n{text}" for title, text in made if text)
    note = (
        f"{study.quality} and what follows are on validation text, medians over seeds where "
        "something is drawn; params, kv bytes and latency are ratios to the dense model."
    )
    return f"# {study.name}\n\n{note}\n\n{told}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    arguments = parser.parse_args()
    lines = read(arguments.out)
    folder = HERE / "tables"
    folder.mkdir(exist_ok=True)
    for study in STUDIES.values():
        if any(x["model"] == study.name for x in lines):
            (folder / f"{study.name}.md").write_text(page(lines, study))
            print(f"# {study.name}\n\n{orderings(lines, study)}\n")


if __name__ == "__main__":
    main()
