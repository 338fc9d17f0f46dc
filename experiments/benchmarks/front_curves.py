"""Draws what front.py has found: hypervolume against evaluations' worth of tokens.

    python experiments/benchmarks/front_curves.py FILE ... --figure SVG

The files are those of ``front.py --out``. A panel per space and model; lines are medians over
seeds, bands reach from the least to the most, dots are where EvoPress has ended.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from front import OTHERS, at

COLOURS = {"evo": "#2f6fed", "evopress": "#d1495b", "nsga2": "#5f6b7a", "random": "#b9a44c"}
NAMES = {"evopress": "EvoPress, once per budget", "nsga2": "NSGA-II, one at a time"}
POINTS = 40
TICKS = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]


def panel_of(panel: Any, seeds: list[dict[str, Any]]) -> None:
    """All curves of one space and model."""
    unit = seeds[0]["tokens per evaluation"]
    ways = [way for way in ("evo", *OTHERS) if all(way in s["curves"] for s in seeds)]
    for way in ways:
        curves = [s["curves"][way] for s in seeds]
        first = min(points[0][0] for points in curves) / unit
        last = max(points[-1][0] for points in curves) / unit
        evaluations = np.geomspace(first, last, POINTS)
        filled = np.array([[at(points, n * unit) for n in evaluations] for points in curves])
        median = np.median(filled, axis=0)
        named = NAMES.get(way, way)
        panel.step(evaluations, median, where="post", color=COLOURS[way], label=named)
        panel.fill_between(evaluations, filled.min(0), filled.max(0), color=COLOURS[way], alpha=0.2,
                           step="post", lw=0)  # fmt: skip
        if way == "evopress":
            panel.plot(evaluations[-1], median[-1], "o", color=COLOURS[way], ms=4)
    panel.set(
        title=f"{seeds[0]['model'].split('/')[0]}, {seeds[0]['space']}, {len(seeds)} seeds",
        xscale="log", xlabel="evaluations' worth of tokens",
    )  # fmt: skip
    least, most = panel.get_xlim()
    ticks = [n for n in TICKS if least <= n <= most]
    panel.set_xticks(ticks, [str(n) for n in ticks])
    panel.minorticks_off()
    panel.grid(color="#e4e7ec")


def drawn(seeds: list[dict[str, Any]], file: Path) -> None:
    """A panel per space and model, in their order."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "front", "font.size": 9})
    from matplotlib import pyplot as plt

    kinds = list(dict.fromkeys((s["space"], s["model"]) for s in seeds))
    figure, panels = plt.subplots(
        1, len(kinds), figsize=(3.6 * len(kinds), 3.2), squeeze=False, layout="constrained"
    )
    for panel, kind in zip(panels[0], kinds, strict=True):
        panel_of(panel, [s for s in seeds if (s["space"], s["model"]) == kind])
    panels[0][0].set_ylabel("hypervolume ↑")
    named = {
        name: line
        for panel in panels[0]
        for line, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=len(named), frameon=False
    )
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--figure", type=Path, default=Path("front.svg"))
    given = parser.parse_args()
    lines = [line for file in given.files for line in file.read_text().splitlines()]
    drawn([json.loads(line) for line in lines], given.figure)
    print(given.figure)


if __name__ == "__main__":
    main()
