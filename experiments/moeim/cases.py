"""Graphs, settings and published figures of MOEIM, and the hypervolumes it is judged by."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from evo.indicators import nondominated
from problems.influence.problem import Influence

GRAPHS = (
    "email_di", "facebook_combined_un", "gnutella_di", "wiki-vote_di", "lastfm_un", "CA-HepTh_un",
)  # fmt: skip
MODELS = ("ic", "wc")
SIX = ("spread", "size", "communities", "fairness", "budget", "time")
OPTIMISED = {
    "is": SIX[:2], "isc": SIX[:3], "isf": (*SIX[:2], SIX[3]), "isb": (*SIX[:2], SIX[4]),
    "ist": (*SIX[:2], SIX[5]), "all": SIX,
}  # fmt: skip
SPACES = {f"hv_{name}": [SIX.index(o) for o in chosen] for name, chosen in OPTIMISED.items()}
SIMULATIONS, MOST, LIMIT = 100, 100, 5

EXACT = 2200  # points whose exact volume in six dimensions takes seconds

Array = NDArray[np.float64]


def data() -> Path:
    """The folder with graphs and published results."""
    root = os.environ.get("EVO_DATA")
    if not root:
        raise SystemExit("set EVO_DATA to a folder with graphs/ and moeim-results/")
    return Path(root)


def problem_of(graph: str, model: str, **settings: Any) -> Influence:
    """A case of setting 1, objectives as published."""
    folder = data() / "graphs"
    (file,) = folder.glob(f"edges/{graph}.txt*")
    directed = graph.endswith("_di")
    given: dict[str, Any] = {
        "most": MOST, "limit": LIMIT, "worlds": (SIMULATIONS, 4096), "mode": "paper",
        "budget": "total" if directed else "out", "pool": str(folder / "smart_init.csv"),
    } | settings  # fmt: skip
    return Influence(
        str(file), model, directed=directed,
        communities=str(folder / "communities" / f"{graph}.csv"), **given,
    )  # fmt: skip


def judged(problem: Influence, seeds: NDArray[np.int32], split: str = "search") -> Array:
    """All six objectives of seed sets, to be maximised, (P, 6)."""
    from evo.genomes import Genomes
    from evo.problem import Context

    offered = {o.name: o for o in problem.objectives}
    batch = problem.batch(Genomes({"seeds": seeds}), Context(split=split))  # type: ignore[arg-type]
    return np.stack([offered[name](batch) for name in SIX], axis=1)


def hypervolume(values: Array) -> float:
    """Volume between maximised values and 0; rows with a value of 0 or less add nothing.

    Exact but for large fronts in six dimensions, whose volume is about 1e-4 off.
    """
    inside = -values[(values > 0).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    front, corner = inside[nondominated(inside)], np.zeros(values.shape[1])
    if len(front) > EXACT:
        return float(moocore.hv_approx(front, ref=corner, nsamples=1 << 17, method="Rphi-FWE+"))
    return float(moocore.hypervolume(front, ref=corner))


def hypervolumes(values: Array) -> dict[str, float]:
    """In every space, (P, 6)."""
    return {name: hypervolume(values[:, columns]) for name, columns in SPACES.items()}


def published_runs(graph: str, model: str, objectives: str, alg: str = "MOEIM") -> dict[str, Array]:
    """Final hypervolumes of every released run, by space."""
    chosen = [
        row
        for row in rows_of(data() / "moeim-results" / "hv_final_per_run.csv")
        if (row["alg"], row["graph"], row["model"], row["objectives"])
        == (alg, graph, model.upper(), objectives.upper() if objectives != "all" else "all")
    ]
    names = [name for name in SPACES if name != "hv_all"]
    return {name: np.array([float(row[name]) for row in chosen]) for name in names}


def published_table(graph: str, model: str, algorithm: str) -> Mapping[str, float]:
    """A row of Table 1 of the supplement: means, and standard deviations as ``…_sd``."""
    (row,) = (
        row
        for row in rows_of(data() / "moeim-results" / "table1_published.csv")
        if (row["graph"], row["model"], row["algorithm"]) == (graph, model.upper(), algorithm)
    )
    return {name: float(value) for name, value in row.items() if name.startswith("hv_")}


def rows_of(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, none where it does not exist."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def append(file: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file, which gets a heading when it is new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def completed(
    file: Path, keys: Iterable[str], tasks: Iterable[tuple[Any, ...]],
    one: Callable[[Any], Mapping[str, Any]], jobs: int = 1,
) -> list[dict[str, str]]:  # fmt: skip
    """Run the tasks that a CSV file lacks, and append and print their rows; all rows of it.

    Args:
        file: Of results.
        keys: Columns that tell tasks apart, in the order of a task.
        tasks: All of them.
        one: The row of a task.
        jobs: Processes.
    """
    done = {tuple(row[key] for key in keys) for row in rows_of(file)}
    missing = [task for task in tasks if tuple(map(str, task)) not in done]
    with get_context("spawn").Pool(jobs) as pool:
        for row in pool.imap_unordered(one, missing):
            append(file, row)
            print(*row.values(), flush=True)
    return rows_of(file)


def markdown(heading: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table."""
    names = list(heading)
    lines = [names, ["---"] * len(names), *(list(map(str, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
