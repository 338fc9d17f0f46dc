"""Memory and time of a two-objective search as graphs grow to a million nodes and ten million arcs.

    python experiments/benchmarks/million.py [--nodes 125000 250000 500000 1000000] [--figure FILE]

Graphs have ten arcs per node, whose ends are drawn by weights that fall as a power (Chung and Lu
2002, exponent 2.5). Each is written as an edge list; then ``evo run influence/wc`` searches spread
and size, in a process of its own, for ten generations of 40 seed sets of up to 50 nodes on 32
worlds, and judges the front on 64 others. Printed are seconds, and the most memory that the process
held (Linux: ``VmHWM``); the figure shows processor time and memory against arcs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS = {"problem.most": "50", "problem.worlds": "[32, 64]", "problem.directed": "true"}


def write(path: Path, nodes: int, seed: int) -> int:
    """Arcs written, repeated ones included."""
    rng = np.random.default_rng(seed)
    reach = np.cumsum((np.arange(nodes) + 10.0) ** (-1 / 1.5))
    ends = np.searchsorted(reach, rng.random((10 * nodes, 2)) * reach[-1])
    ends[:, 1] = rng.permutation(nodes)[ends[:, 1]]  # in-degrees do not follow out-degrees
    with path.open("w", encoding="utf-8") as file:
        for block in np.array_split(ends, max(1, nodes // 100_000)):
            file.write("\n".join(f"{u} {v}" for u, v in block.tolist()) + "\n")
    return len(ends)


def searched(graph: Path, out: Path) -> dict[str, Any]:
    """Seconds and memory of a run, loading alone first."""
    load = (
        "import sys, time; from problems.influence.reading import read_graph; b = time.time();"
        "g = read_graph(sys.argv[1], directed=True); print(g.n, g.m, time.time() - b)"
    )
    told = subprocess.run([sys.executable, "-c", load, graph], capture_output=True, check=True)
    nodes, arcs, loading = told.stdout.decode().split()
    command = [sys.executable, "-m", "evo", "run", "influence/wc", "--objective", "spread",
               "--objective", "size", "--population", "40", "--generations", "10",
               "--out", str(out), "--set", f"problem.graph={graph}"]  # fmt: skip
    for name, value in SETTINGS.items():
        command += ["--set", f"{name}={value}"]
    begin, spent = time.perf_counter(), children()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]) << 10)
        except (OSError, IndexError):
            pass
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the search of {graph.name} ended with code {process.returncode}")
    return {
        "nodes": int(nodes), "arcs": int(arcs), "loading seconds": round(float(loading), 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "processor seconds": round(children() - spent, 1), "GiB": round(peak / 2**30, 2),
    }  # fmt: skip


def children() -> float:
    """Processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figure(lines: list[dict[str, Any]], path: Path) -> None:
    """Seconds and GiB against arcs, as a drawing."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "million", "font.size": 9})
    from matplotlib import pyplot as plt

    drawing, panels = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    arcs = [line["arcs"] / 1e6 for line in lines]
    shown = ("processor seconds", "loading seconds"), ("GiB",)
    for panel, names in zip(panels, shown, strict=True):
        for name, style in zip(names, ("o-", "s--"), strict=False):
            panel.plot(arcs, [line[name] for line in lines], style, label=name)
        panel.set(xlabel="million arcs", xlim=(0, None), ylim=(0, None))
        panel.legend(frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [125_000, 250_000, 500_000, 1_000_000]
    parser.add_argument("--nodes", type=int, nargs="*", default=sizes)
    parser.add_argument("--memory", type=float, help="GiB of address space a run may take")
    parser.add_argument("--figure", type=Path, help="SVG to write")
    given = parser.parse_args()
    if given.memory:
        limit = int(given.memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    lines = []
    for nodes in given.nodes:
        with tempfile.TemporaryDirectory() as scratch:
            graph = Path(scratch) / f"{nodes}.txt"
            write(graph, nodes, seed=0)
            lines.append(searched(graph, Path(scratch) / "run"))
        print(json.dumps(lines[-1]), flush=True)
    if given.figure:
        figure(lines, given.figure)


if __name__ == "__main__":
    main()
