"""Methods of the field beside a search: every first part of a ranking of nodes is a seed set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Baseline, Context, Tell

from .celf import celf
from .heuristics import Ranking, degree, generalised_discount, pagerank, single_discount
from .sketches import opim_c
from .starts import first_parts
from .worlds import Model, Threshold, over_arcs

if TYPE_CHECKING:
    from .problem import Influence

CHEAP = ("degree", "single-discount", "gdd", "pagerank")
OVER_ARCS = ("celf", "opim-c")  # need live arcs
FEW = 1 << 21  # nodes times worlds: seconds of lazy greedy where compiled, a minute or two in NumPy
EPSILON = 0.02  # little dearer than the usual 0.1, as bounds mostly end OPIM-C early
CELLS = 1 << 24  # of the table of seed sets


def named(names: Sequence[str] | None, model: Model, worlds: int) -> tuple[str, ...]:
    """Which baselines a problem has: those asked for, or the cheap ones, and CELF where it is.

    Args:
        names: Asked for, None for the default.
        model: What spreads over which graph.
        worlds: Of the search.

    Raises:
        ConfigError: There is no such baseline, or not for this model.
    """
    if names is None:
        greedy = not isinstance(model, Threshold) and model.graph.n * worlds <= FEW
        return (*CHEAP, "celf") if greedy else CHEAP
    for name in names:
        if name not in (*CHEAP, *OVER_ARCS):
            raise ConfigError(
                f"problem.baselines must be among {', '.join((*CHEAP, *OVER_ARCS))}, got {name!r}"
            )
        if name in OVER_ARCS:
            over_arcs(model, f"baseline {name}", f"leave {name} out of problem.baselines")
    return tuple(dict.fromkeys(names))


def methods(
    problem: Influence, names: Sequence[str], seed: int
) -> Mapping[str, Callable[[Tell], Baseline]]:
    """The named ones, each of which finds up to ``problem.most`` seeds when called."""
    model, k, paper = problem.model, problem.most, problem.mode == "paper"

    def ranked(rank: Callable[[], Ranking]) -> Callable[[Tell], Baseline]:
        return lambda tell: Baseline(prefixes(rank(), k))

    def greedy(tell: Tell) -> Baseline:
        pool = problem.pool(Context())
        found = celf(pool, k, problem.limit, tell, backend=problem.backend)
        told = f"celf chose {k} seeds on {len(pool)} worlds from {found.judged:,} gains"
        return Baseline(prefixes(found.nodes, k), told)

    def bounded(tell: Tell) -> Baseline:
        tell(0, k)
        found = opim_c(model, k, problem.limit, EPSILON, seed=seed)
        told = (
            f"opim-c: its {k} seeds activate at least {found.lower:.4g} nodes, any {k} at most "
            f"{found.upper:.4g}; they reach {found.share:.1%} of the largest spread or more, all "
            f"with probability {1 - found.delta:.6g} ({found.sketches:,} sketches)"
        )
        return Baseline(prefixes(found.nodes, k), told)

    known = {
        "degree": ranked(lambda: degree(problem.graph, k)),
        "single-discount": ranked(lambda: single_discount(problem.graph, k)),
        "gdd": ranked(lambda: generalised_discount(model, k, problem.name, paper=paper)),
        "pagerank": ranked(lambda: pagerank(model, k)),
        "celf": greedy,
        "opim-c": bounded,
    }
    return {name: known[name] for name in names}


def prefixes(ranking: Ranking, most: int) -> Genomes:
    """Its first 1, 2, …, k nodes; sizes are spread evenly where all of them were too many."""
    k = len(ranking)
    sizes = np.unique(np.linspace(1, k, min(k, max(2, CELLS // most))).astype(int))
    return Genomes({"seeds": first_parts(ranking, sizes, most)})
