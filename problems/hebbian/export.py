"""A rule on disk: JSON with all coefficients by name, and a program that lives by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evo.genomes import Genomes

from .genes import INITS

if TYPE_CHECKING:
    from .problem import Plastic


def write(
    problem: Plastic, genomes: Genomes, folder: Path, expected: Mapping[str, float]
) -> Mapping[str, Any]:
    """Write ``rule.json`` and ``player.py``; returns what was written, in a few words.

    Args:
        problem: What the rule was found by.
        genomes: One row.
        folder: Where.
        expected: Values of the search, which are written beside the rule.
    """
    rule, kept = problem.rule, problem.kept(genomes)
    genes = {name: v[0].tolist() for name, v in rule.decode(genomes["rules"]).items()}
    neurons = np.concatenate(kept.by_layer(rule, 1), axis=1)[0]
    name, settings = getattr(problem.world, "gymnasium", (None, {}))
    told = {
        "task": problem.task, "gymnasium": name, "gymnasium_settings": settings,
        "rule": rule.name, "layers": list(rule.layers), "genes": genes,
        "neurons": neurons.astype(int).tolist(),
        "synapses": None if kept.synapses is None else kept.synapses[0].astype(int).tolist(),
        "init": rule.init, "scale": INITS[rule.init] if rule.scale is None else rule.scale,
        "norm": rule.norm, "limit": rule.limit, "every": rule.every, "window": rule.window,
        "values": dict(expected),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rule.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("player.py"), folder / "player.py")
    shown = {"rule": rule.name, "layers": "-".join(map(str, rule.layers))}
    return {**shown, "numbers": sum(map(len, genes.values())), **expected}
