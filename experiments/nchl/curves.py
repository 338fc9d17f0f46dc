"""Learning curves of the study, and what it reached against the numbers it evolved.

    python experiments/nchl/curves.py [--algorithm cma-es] [--scale 0.003]

Draws ``results/curves.svg`` from ``results/runs.jsonl``: above, the median distance of a generation
against evaluations, as median and quartiles over seeds; below, distances in new episodes against
evolved numbers, a point per seed, whole bodies filled and those with a dead leg open.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent / "results"
COLOURS = {"hl": "#0b5394", "nchl": "#b8430b", "wnchl": "#1b7f5c", "static": "#5b6573"}


def read(file: Path, how: str, scale: float) -> list[dict[str, Any]]:
    """The searches of one algorithm at one scale."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [r for r in rows if (r["algorithm"], r["scale"]) == (how, scale)]


def curve(panel: Any, rows: list[dict[str, Any]], rule: str) -> None:
    """Median and quartiles over seeds of the median of each generation."""
    x = np.array([[point[0] for point in r["curve"]] for r in rows])
    y = np.array([[point[2] for point in r["curve"]] for r in rows])
    low, middle, high = np.percentile(y, [25, 50, 75], axis=0)
    panel.fill_between(x[0], low, high, color=COLOURS[rule], alpha=0.15, lw=0)
    panel.plot(x[0], middle, color=COLOURS[rule], lw=1.5, label=f"{rule} ({len(rows)})")


def reached(panel: Any, rows: list[dict[str, Any]], rule: str) -> None:
    """A point per seed, and their median as a bar."""
    params = np.array([r["params"] for r in rows])
    for name, face in (("intact", COLOURS[rule]), ("damaged", "none")):
        values = [r[name] for r in rows]
        panel.plot(params, values, "o", mfc=face, mec=COLOURS[rule], ms=4, alpha=0.8)
    middle = np.median([r["intact"] for r in rows])
    panel.plot(params[0] * np.array([0.8, 1.25]), [middle] * 2, color=COLOURS[rule], lw=2)


def drawn(rows: list[dict[str, Any]], file: Path) -> None:
    """A column per task."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 9})
    from matplotlib import pyplot as plt

    tasks = sorted({r["task"] for r in rows})
    size = (4 * len(tasks), 6)
    figure, panels = plt.subplots(2, len(tasks), figsize=size, squeeze=False, layout="constrained")
    for (above, below), task in zip(panels.T, tasks, strict=True):
        for rule in COLOURS:
            mine = [r for r in rows if (r["task"], r["rule"]) == (task, rule)]
            if mine:
                curve(above, mine, rule)
                reached(below, mine, rule)
        layers = "-".join(str(n) for n in next(r["layers"] for r in rows if r["task"] == task))
        above.set(title=f"{task}, {layers}", xlabel="evaluations", ylabel="distance, m ↑")
        below.set(xscale="log", xlabel="evolved numbers ↓", ylabel="distance in new episodes, m ↑")
        ticks = sorted({r["params"] for r in rows if r["task"] == task})
        below.set_xticks(ticks, [f"{n:,.0f}" for n in ticks])
        below.minorticks_off()
        above.legend(frameon=False, title="rule (seeds)")
        for panel in (above, below):
            panel.grid(color="#e4e7ec")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithm", default="cma-es")
    parser.add_argument("--scale", type=float, default=0.003)
    given = parser.parse_args()
    rows = read(HERE / "runs.jsonl", given.algorithm, given.scale)
    if not rows:
        parser.error(f"no search by {given.algorithm} at scale {given.scale:g} in {HERE.name}")
    drawn(rows, HERE / "curves.svg")
    print(HERE / "curves.svg")


if __name__ == "__main__":
    main()
