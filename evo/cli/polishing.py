"""Polish of a chosen candidate: made again on its own pruned prefix, kept where that is better."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..genomes import Genomes
from ..live import number
from ..problem import Context
from .output import tell

SPLITS = ("search", "validation")


def polish(problem: Any, genomes: Genomes, seed: int = 0) -> tuple[Any, Genomes, dict[str, Any]]:
    """The better one of a candidate (n = 1) and the same made again, and what that changed.

    Better is judged by the first of the problem's default objectives on search text.

    Returns:
        The problem in which the candidate stands, the candidate, and JSON: ``objective``, per split
        ``before`` and ``after``, and ``kept``, whether the polished one is it.

    Raises:
        ConfigError: The problem cannot make a candidate again.
    """
    if not callable(getattr(problem, "polished", None)):
        raise ConfigError("this problem has nothing to polish; leave --polish out")
    tell("making the chosen variants again on the pruned prefix")
    again, taken = problem.polished(genomes)
    name = problem.default_objectives[0]
    facts: dict[str, Any] = {"objective": name}
    for split in SPLITS:
        facts[split] = {
            "before": _value(problem, genomes, name, split, seed),
            "after": _value(again, taken, name, split, seed),
        }
    goal = next(o.goal for o in problem.objectives if o.name == name)
    gain = facts["search"]["before"] - facts["search"]["after"]
    facts["kept"] = bool(gain > 0 if goal == "min" else gain < 0)
    tell(_told(facts))
    return (again, taken, facts) if facts["kept"] else (problem, genomes, facts)


def _value(problem: Any, genomes: Genomes, name: str, split: Any, seed: int) -> float:
    batch = problem.batch(genomes, Context(str(problem.pretrained.device), seed, split=split))
    return float(next(o for o in problem.objectives if o.name == name)(batch)[0])


def _told(facts: dict[str, Any]) -> str:
    changes = ", ".join(
        f"{number(facts[s]['before'])} → {number(facts[s]['after'])} on {s} text" for s in SPLITS
    )
    end = "" if facts["kept"] else "; that is no gain, so the candidate stays as it was"
    return f"polish: {facts['objective']} {changes}{end}"
