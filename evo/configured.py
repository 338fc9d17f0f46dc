"""The algorithm that a configuration asks for, with its operators and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .algorithms import Algorithm, Settings, create
from .config import ALONE, Ref, RunConfig
from .errors import ConfigError
from .evaluate import Judges
from .genomes import Genomes
from .registry import build, load, resolve
from .space import SearchSpace


def build_algorithm(
    config: RunConfig, space: SearchSpace, judges: Judges, starts: Genomes | None,
    *, id_: str | None = None, seed: int | None = None,
    variation: Mapping[str, Any] | None = None,
) -> Algorithm:  # fmt: skip
    """The configured algorithm, or another one (a baseline) with the same population size.

    Operators are those of the configuration, else those in ``variation``, else the algorithm's.

    Raises:
        RegistryError: The algorithm or an operator cannot be found.
        ConfigError: A setting does not fit.
    """
    name = id_ or config.algorithm.id
    asked, suited = dict(config.algorithm.settings), dict(variation or {})
    predicted, unguided = suited.pop("surrogate", False), suited.pop("unguided", {})
    surrogate = asked.pop("surrogate", predicted and name not in ALONE)
    if not isinstance(surrogate, bool):
        raise ConfigError(f"algorithm.surrogate must be true or false, got {surrogate!r}")
    asked.pop("low_fidelity", None)  # of the run
    own = {} if id_ else {**suited, **({} if surrogate else unguided), **asked}
    surrogate = surrogate and not id_
    operators = {
        role: _operator(own.pop(role), role)
        for role in ("crossover", "mutation", "sampling")
        if role in own
    }
    scales = {k: own.pop(k) for k in ("crossover_rate", "mutation_rate", "scaling") if k in own}
    extra = {**resolve("algorithm", name).settings, **own}
    settings = Settings(
        population=config.algorithm.population,
        seed=config.seed if seed is None else seed,
        generations=config.stop.generations,
        extra=extra,
        surrogate=surrogate,
        **scales,
        **operators,
    )
    return create(
        load("algorithm", name), space, n_objectives=judges.n_searched,
        constrained=judges.n_constraints > 0, settings=settings, starts=starts,
    )  # fmt: skip


def _operator(value: Any, role: str) -> Any:
    if callable(value):  # made by the problem
        return value
    if isinstance(value, dict) and "id" not in value:  # one operator per part
        return {part: _operator(v, f"{role}.{part}") for part, v in value.items()}
    return build("operator", Ref.parse(value, f"algorithm.{role}"))
