"""What a pruning problem offers to search for or to record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evo.problem import Objective

from .pruned_batch import perplexity

if TYPE_CHECKING:
    from .searches import Mixed


def offered(problem: Mixed) -> list[Objective]:
    """Costs that every model has, then quality by the kind of the model."""
    costs = [
        _count("params", "params"),
        _count("macs", "MACs/token"),
        _count("weight_bytes", "B"),
        Objective("latency", "min", problem.latency_of, "ms", 1e-3),
    ]
    if problem.kind == "lm":
        return [*costs, *_of_language_models()]
    ranked = [Objective("spearman", "max", lambda b: b.spearman, "%", 1e-3)]
    has_pairs = problem.data.pairs("search") is not None
    return [*costs, _mean("drift", 0, "", 1e-6), *(ranked if has_pairs else [])]


def _of_language_models() -> list[Objective]:
    spread = _mean("perplexity", 0, "", 1e-3)
    return [
        _mean("kl", 1, "nats/token", 1e-5),
        _mean("loss", 0, "nats/token", 1e-5),
        replace(spread, fn=lambda b: b.perplexity, of_mean=perplexity),
        _count("kv_bytes", "B/token"),
    ]


def _count(name: str, unit: str) -> Objective:
    """A cost of the model: a sum over sites, and what lies outside of them."""

    def whole(batch: Any) -> Any:
        return getattr(batch, name).sum(1) + getattr(batch.base, name)

    return Objective(name, "min", whole, unit, 1.0, free=True)


def _mean(name: str, column: int, unit: str, resolution: float) -> Objective:
    """The mean over sequences of a column of the readings."""
    return Objective(
        name, "min", lambda b: b.readings[:, :, column].mean(1), unit, resolution,
        samples=lambda b: b.read[:, :, column],
    )  # fmt: skip
