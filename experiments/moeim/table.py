"""The runs of ``run.py`` beside the published ones: differences in standard deviations, and tests.

    EVO_DATA=FOLDER python experiments/moeim/table.py

Writes ``results/table.csv``, a row per case and space, and ``results/table.md``. Differences are in
standard deviations of the published runs; p is Wilcoxon's rank-sum test on runs, but in six
dimensions, where only means and deviations of ten runs are published, Welch's test on these.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from typing import Any

import numpy as np
from cases import (
    OPTIMISED,
    SPACES,
    Array,
    markdown,
    published_runs,
    published_table,
    rows_of,
)
from run import RESULTS
from scipy.stats import ranksums, ttest_ind_from_stats

NAMES = {"is": "I-S", "isc": "I-S-C", "isf": "I-S-F", "isb": "I-S-B", "ist": "I-S-T", "all": "all"}


def published(
    graph: str, model: str, chosen: str, space: str, method: str = "MOEIM"
) -> tuple[float, float, int, Array | None]:
    """Mean and deviation of published runs, how many they are, and each where it is released."""
    if space == "hv_all":
        name = f"MOEIM({NAMES[chosen]})" if method == "MOEIM" else "MOEA"
        row = published_table(graph, model, name)
        return row["hv_all"], row["hv_all_sd"], 10, None
    given = published_runs(graph, model, chosen, method)[space]
    sd = float(given.std(ddof=1)) if len(given) > 1 else 0.0
    return float(given.mean()) if len(given) else np.nan, sd, len(given), given


def compared(ours: Array, method: str, graph: str, model: str, chosen: str, space: str) -> Any:
    """One cell: our mean, the published mean and deviation, their difference, p."""
    mean, sd, runs, given = published(graph, model, chosen, space, method)
    if runs < 2:
        return None
    if given is None:
        test = ttest_ind_from_stats(
            ours.mean(), ours.std(ddof=1) if len(ours) > 1 else np.nan, len(ours), mean, sd, runs,
            equal_var=False,
        )  # fmt: skip
        p = float(test.pvalue)
    else:
        p = float(ranksums(ours, given).pvalue)
    return {
        "runs": len(ours), "mean": f"{ours.mean():.6g}",
        "sd": f"{ours.std(ddof=1):.3g}" if len(ours) > 1 else "",
        "published_runs": runs, "published_mean": f"{mean:.6g}", "published_sd": f"{sd:.3g}",
        "ratio": f"{ours.mean() / mean:.4f}" if mean else "",
        "difference_sd": f"{(ours.mean() - mean) / sd:.2f}" if sd else "", "p": f"{p:.3g}",
    }  # fmt: skip


def main() -> None:
    found: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(RESULTS / "runs.csv"):
        found[row["method"], row["graph"], row["model"], row["objectives"]].append(row)
    order = {name: i for i, name in enumerate(OPTIMISED)}
    cells = [
        {"method": k[0], "graph": k[1], "model": k[2], "objectives": k[3], "space": s[3:], **cell}
        for k in sorted(found, key=lambda k: (*k[:3], order[k[3]]))
        for s in SPACES
        if (cell := compared(np.array([float(r[s]) for r in found[k]]), *k, s)) is not None
    ]
    with (RESULTS / "table.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(cells[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)
    lines: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for c in cells:
        key = (c["method"], c["graph"], c["model"].upper(), NAMES[c["objectives"]], str(c["runs"]))
        off = f" ({float(c['difference_sd']):+.1f})" if c["difference_sd"] else ""
        lines[key][c["space"]] = f"{float(c['mean']):.4g} / {float(c['published_mean']):.4g}{off}"
    spaces = [name[3:] for name in SPACES]
    table = markdown(
        ["method", "graph", "model", "optimised", "runs", *(NAMES[s] for s in spaces)],
        ([*key, *(row.get(s, "") for s in spaces)] for key, row in lines.items()),
    )
    ratios = np.array([float(c["ratio"]) for c in cells if c["ratio"] and c["space"] != "all"])
    deep = np.array([float(c["ratio"]) for c in cells if c["ratio"] and c["space"] == "all"])
    text = (
        "Hypervolume, ours / published; in brackets the difference in published standard "
        f"deviations.\n\n{table}\nRatio of means over cells: "
        f"median {np.median(ratios):.3f}, middle half {np.percentile(ratios, 25):.3f} to "
        f"{np.percentile(ratios, 75):.3f} in two and three dimensions; median "
        f"{np.median(deep):.3f}, {np.percentile(deep, 25):.3f} to {np.percentile(deep, 75):.3f} in "
        "six.\n"
    )
    (RESULTS / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
