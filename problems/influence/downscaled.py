"""Seed sets searched on a small copy of the graph, and judged in the end on the graph itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

import numpy as np

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Array, Constraint, Context, Objective
from evo.streams import stream
from operators import RNG

from .batch import SeedBatch
from .centrality import centrality
from .downscaling import Ranked, shrunk, upscaled
from .problem import Influence

GROWING = ("spread", "budget", "spread_error")  # with the graph, as size does


class Downscaled:
    """Choose whom to seed by a search on a graph some times smaller (see :mod:`.downscaling`).

    The search sees the small graph only; what it counts in nodes and arcs is multiplied by the
    ratio of sizes, as an estimate for the graph itself. Validation and export judge the sets that
    seeds are brought back to, on the graph itself. ``most`` is meant there, too.

    Args:
        downscale: How many times smaller each community becomes.
        upscale: By which measure of :mod:`.centrality` seeds are brought back.
        **settings: Those of :class:`.problem.Influence`; its mode ``paper`` holds for downscaling
            and upscaling as well.

    Raises:
        ConfigError: A setting is out of range or means the graph itself, or arcs have
            probabilities of their own.
        DataError: A file is missing, malformed, or does not fit.
    """

    constraints: Sequence[Constraint] = ()
    default_objectives = Influence.default_objectives
    validation = True
    __signature__ = Signature(  # what the registry checks settings against
        [
            *signature(Influence).parameters.values(),
            Parameter("downscale", Parameter.KEYWORD_ONLY, default=8),
            Parameter("upscale", Parameter.KEYWORD_ONLY, default="pagerank"),
        ]
    )

    def __init__(self, *, downscale: int = 8, upscale: str = "pagerank", **settings: Any) -> None:
        if isinstance(downscale, bool) or not isinstance(downscale, int) or downscale < 1:
            raise ConfigError(
                f"problem.downscale must be a whole number of at least 1, got {downscale!r}"
            )
        self.large = large = Influence(**settings)
        if large.graph.weights is not None:
            raise ConfigError(
                "a graph whose arcs have probabilities of their own cannot be downscaled",
                hint="leave the third column out, and set problem.probability",
            )
        if settings.get("pool") is not None:
            raise ConfigError(
                "problem.pool names nodes of the graph itself, but the search starts on another",
                hint="leave it out: problem.initial=smart finds a pool of the small graph",
            )
        self._paper, seed = large.mode == "paper", settings.get("seed", 0)
        community, draw = large.groups.community, stream(seed, "downscale", downscale)
        found = shrunk(large.graph, community, downscale, draw, paper=self._paper)
        self.ratio = large.graph.n / found.graph.n
        if large.most < self.ratio:
            raise ConfigError(
                f"problem.most is {large.most}, but each seed of a graph {self.ratio:.3g} times "
                "smaller stands for as many nodes",
                hint="raise problem.most, or lower problem.downscale",
            )
        own = {
            "graph": found.graph,
            "communities": np.unique(found.community, return_inverse=True)[1].astype(np.int32),
            "most": int(large.most / self.ratio),
        }
        self.small = Influence(**{**settings, **own})
        self._ranked = [
            Ranked(centrality(graph, upscale, stream(seed, "centrality", upscale)), of)
            for graph, of in ((found.graph, found.community), (large.graph, community))
        ]
        self.space = self.small.space
        self.objectives = [self._estimated(offered) for offered in self.small.objectives]

    def _estimated(self, objective: Objective) -> Objective:
        """The objective in units of the large graph whichever graph a batch is of."""
        name, judge = objective.name, objective.fn
        if self._paper or name not in (*GROWING, "size"):
            return objective

        def scaled(batch: SeedBatch) -> Array:
            values = np.asarray(judge(batch), dtype=np.float64)
            if batch.problem is self.large:
                return values
            return np.floor(values * self.ratio) if name == "size" else values * self.ratio

        return replace(objective, fn=scaled, samples=None)

    def upscaled(self, genomes: Genomes) -> Genomes:
        """Seed sets of the large graph for those of the small one."""
        small, large = self._ranked
        rows = upscaled(genomes["seeds"], small, large, paper=self._paper)
        found = np.full((len(rows), self.large.most), -1, dtype=np.int32)
        found[:, : rows.shape[1]] = rows
        return Genomes({"seeds": found})

    def batch(self, genomes: Genomes, context: Context) -> SeedBatch:
        """Decode n candidates: as they are for the search, else brought back."""
        if context.split == "search":
            return self.small.batch(genomes, context)
        self.space.check(genomes)
        return self.large.batch(self.upscaled(genomes), context)

    def starts(self, n: int, rng: RNG) -> Genomes:
        """Those of the small graph."""
        return self.small.starts(n, rng)

    @property
    def variation(self) -> Mapping[str, Any]:
        """Operators that suit the small graph."""
        return self.small.variation

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what the values stand on."""
        return {**self.large.fingerprint(), "small graph": self.small.graph.fingerprint}

    def describe(self) -> Mapping[str, Any]:
        """Facts for reports."""
        told, small = dict(self.large.describe()), self.small.describe()
        return told | {
            "facts": {**told["facts"], "searched on": small["facts"]["size"]},
            "notes": [*told["notes"], *(f"downscaled: {note}" for note in small["notes"])],
        }

    def drawing(self, genomes: Genomes) -> Mapping[str, Any]:
        """The large graph with the seeds that n candidates are brought back to."""
        return self.large.drawing(self.upscaled(genomes))

    def export(
        self, genomes: Genomes, folder: Path, *, expected: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Write what one candidate (n = 1) is brought back to, with its values on the large graph.

        They are those of the validation, in place of the estimates that the search saw.
        """
        batch = self.batch(genomes, Context(split="validation"))
        values = {o.name: float(o(batch)[0]) for o in self.objectives if o.name in expected}
        return self.large.export(self.upscaled(genomes), folder, expected=values)

    @property
    def bytes_per_candidate(self) -> int:
        """What validation takes, which is more than what the search takes."""
        return self.large.bytes_per_candidate
