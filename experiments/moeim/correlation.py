"""Correlations between objectives over the final archives, beside the published ones.

    EVO_DATA=FOLDER python experiments/moeim/correlation.py [--out runs/moeim] [--runs 10]

Reads the archives that ``run.py --objectives all`` left below ``--out``. Orientations are those
that give the published figure: activated nodes, seeds, the two distances (low is even), cost, and
elapsed steps. Writes ``results/correlation.csv`` and prints a summary.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from cases import GRAPHS, MODELS, SIX, Array, data, markdown, rows_of
from run import RESULTS

LETTERS = dict(zip("ISCFBT", SIX, strict=True))


def raw(values: Array) -> dict[str, Array]:
    """Columns by letter, turned as published; the scale of a column does not matter."""
    columns = dict(zip(LETTERS, values.T, strict=True))
    return {k: v if k == "I" else -v for k, v in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/moeim"))
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    published = rows_of(data() / "moeim-results" / "correlation_published.csv")
    found = []
    for graph in GRAPHS:
        short = graph.replace("_combined", "").rpartition("_")[0]
        for model in MODELS:
            files = [args.out / f"MOEIM-{graph}-{model}-{s}.npz" for s in range(args.runs)]
            pooled = [np.load(file)["values"] for file in files if file.exists()]
            if not pooled:
                continue
            columns = raw(np.concatenate(pooled))
            for row in published:
                if (row["graph"], row["model"]) == (short, model.upper()):
                    x, y = columns[row["x"]], columns[row["y"]]
                    r = float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else np.nan
                    found.append({
                        "graph": graph, "model": model, "x": row["x"], "y": row["y"],
                        "runs": len(pooled), "r": f"{r:.3f}", "published": row["r"],
                    })  # fmt: skip
    if not found:
        raise SystemExit(f"there are no archives below {args.out}; run.py --objectives all first")
    with (RESULTS / "correlation.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    pairs = [(c["x"], c["y"]) for c in found if (c["graph"], c["model"]) == (
        found[0]["graph"], found[0]["model"])]  # fmt: skip
    rows = []
    for x, y in pairs:
        some = [c for c in found if (c["x"], c["y"]) == (x, y)]
        ours, theirs = (np.array([float(c[k]) for c in some]) for k in ("r", "published"))
        clear = np.abs(theirs) >= 0.3
        rows.append([
            f"{x}-{y}", f"{np.nanmin(ours):+.2f} to {np.nanmax(ours):+.2f}",
            f"{theirs.min():+.2f} to {theirs.max():+.2f}",
            f"{np.nanmedian(np.abs(ours - theirs)):.2f}",
            f"{int((np.sign(ours) == np.sign(theirs))[clear].sum())} of {int(clear.sum())}",
        ])  # fmt: skip
    print(markdown(
        ["pair", "ours", "published", "median difference", "same sign where |r| ≥ 0.3"], rows
    ))  # fmt: skip


if __name__ == "__main__":
    main()
