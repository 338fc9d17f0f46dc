"""Constraints as text, such as ``params < 12M``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of an interval that ``name`` must stay in, e.g. ``params < 12e6``."""

    name: str
    sign: str
    value: float
    text: str

    def keeps(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values lie within; NaN does not."""
        inside = values < self.value if self.sign[0] == "<" else values > self.value
        return inside | ((values == self.value) & ("=" in self.sign))


_LIMIT = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*(\S.*?)\s*")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kMG]?)")
_SUFFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def parse_limit(text: str) -> Limit:
    """Read a constraint ``NAME < NUMBER``; signs < <= > >=, unit suffixes k, M, G.

    Raises:
        ConfigError: The text has another form.

    Example:
        >>> parse_limit("params <= 12M").value
        12000000.0
    """
    parts = _LIMIT.fullmatch(text)
    number = _NUMBER.fullmatch(parts[3]) if parts else None
    if parts is None or number is None:
        raise ConfigError(
            f"cannot read the constraint {text!r}; expected a name, one of < <= > >=, and a number",
            hint="for example 'params < 12M'",
        )
    value = float(number[1]) * _SUFFIX[number[2]]
    if not abs(value) < float("inf"):
        raise ConfigError(f"the number of the constraint {text!r} is too large")
    return Limit(parts[1], parts[2], value, text.strip())


def check_limits(limits: Sequence[Limit]) -> None:
    """Raise when two limits leave no value possible.

    Raises:
        ConfigError: The interval of some name is empty.
    """
    for low in (x for x in limits if x.sign[0] == ">"):
        for high in (x for x in limits if x.sign[0] == "<" and x.name == low.name):
            strict = "=" not in low.sign or "=" not in high.sign
            if low.value > high.value or (strict and low.value == high.value):
                raise ConfigError(
                    f"the constraints {low.text!r} and {high.text!r} contradict each other"
                )
