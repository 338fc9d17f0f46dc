"""The command that sets runs side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError
from ..live import aligned
from ..view import read_run
from .output import Flag, run_folder, say, say_json


def compare(*runs: str, json: Flag = False) -> None:
    """Compare runs, and the baselines in them, by hypervolume on one common box.

    Args:
        runs: Folders of the runs, or their names; all must search the same objectives.
        json: Write JSON instead of a table.
    """
    if not runs:
        raise ConfigError("evo compare needs at least one run", hint="evo list runs")
    found = measure(runs)
    if json:
        say_json(found)
        return
    say(f"hypervolume on one common box · {', '.join(found['objectives'])}")
    for group in found["groups"]:
        say(["", *_group_lines(group)])


def measure(runs: tuple[str, ...]) -> dict[str, Any]:
    """What ``evo compare --json`` prints: the box, and groups of runs with their origins."""
    from ..report.facts import gather

    facts = gather([read_run(run_folder(run)) for run in runs])
    box = None
    if facts.box is not None:
        box = {"ideal": facts.box.ideal.tolist(), "nadir": facts.box.nadir.tolist()}
    return {
        "objectives": [column.name for column in facts.objectives],
        "fitness_box": box,
        "groups": [_group(facts, label, members) for label, members in facts.groups],
    }


def _group(facts: Any, label: str, members: tuple[int, ...]) -> dict[str, Any]:
    rows = [row for i in members for row in _origins(facts, i)]
    summary = []
    for origin in dict.fromkeys(row["origin"] for row in rows):
        volumes = [row["hypervolume"] for row in rows if row["origin"] == origin]
        low, median, high = np.percentile(volumes, [25, 50, 75]).tolist()
        summary.append(
            {"origin": origin, "runs": len(volumes), "median": median, "quartiles": [low, high]}
        )
    return {"configuration": label, "runs": rows, "summary": summary}


def _origins(facts: Any, run: int) -> list[dict[str, Any]]:
    """One row per origin of one run: the search first, then its baselines."""
    from ..indicators import nondominated

    pool, view = facts.pool, facts.runs[run]
    mine = pool.run == run
    names = sorted(set(pool.origin[mine].tolist()) | {"search"}, key=lambda n: (n != "search", n))
    out = []
    for name in names:
        rows = np.flatnonzero(mine & (pool.origin == name))
        fitness = pool.fitness[rows[pool.feasible[rows]]]
        fitness = fitness[nondominated(fitness)] if len(fitness) else fitness
        out.append({
            "run": str(view.folder), "seed": (view.meta.get("config") or {}).get("seed"),
            "origin": name, "evaluations": len(rows), "failed": int((~pool.ok[rows]).sum()),
            "front_size": len(fitness),
            "hypervolume": facts.box.volume(fitness) if facts.box is not None else 0.0,
        })  # fmt: skip
    return out


def _group_lines(group: dict[str, Any]) -> list[str]:
    table = [["run", "origin", "seed", "evals", "failed", "front", "hypervolume"]]
    for row in group["runs"]:
        told = [str(row[k]) for k in ("seed", "evaluations", "failed", "front_size")]
        table.append([row["run"], row["origin"], *told, f"{row['hypervolume']:.4f}"])
    lines = [group["configuration"], *aligned(table, left=2)]
    for row in group["summary"]:
        if row["runs"] > 1:
            low, high = row["quartiles"]
            told = f"median {row['median']:.4f}, quartiles {low:.4f} to {high:.4f}"
            lines.append(f"  {row['origin']}: {told}, {row['runs']} runs")
    return lines
