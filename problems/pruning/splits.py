"""Disjoint calibration, search and validation sequences out of one text or several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch

from evo.errors import DataError
from evo.streams import stream

from .legible import require_legible
from .text import MEGABYTES, Source, Text, documents, paragraphs
from .windows import Begin, Ids, Passages, Windows, cut, encoded, padded, tokenised

Side = Literal["calibration", "search", "validation"]
SIDES: tuple[Side, ...] = ("validation", "search", "calibration")  # the first keeps a duplicate
SIZES: Mapping[Side, int | str] = {"calibration": 32, "search": 64, "validation": 64}

S = TypeVar("S", Windows, Passages)
Order = Callable[[Sequence[Ids]], Iterator[int]]
"""Positions in a pool of sequences, the one wanted most first; see :mod:`.sampling`."""


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Which text is used for what, and how much of it.

    Args:
        text: Source that is dealt out to every side without a source of its own; see :mod:`.text`.
        calibration: Source for importance; its first sequences are used as they come.
        search: Source for objectives, likewise.
        validation: Source for re-judging, likewise. A source named twice is shared, dealt out.
        separator: Line between documents of the sources, or None.
        length: Tokens T of a window; most tokens of a passage, special ones included.
        sizes: Sequences of each side, or tokens as in ``"16384 tokens"``; default ``SIZES``.
        begin: Token that begins every document of windows; see :func:`.windows.windows`.
        megabytes: Most text read from one source.
        seed: Decides which sequences of a shared source go where.
    """

    text: Source = None
    calibration: Source = None
    search: Source = None
    validation: Source = None
    separator: str | None = None
    length: int = 256
    sizes: Mapping[Side, int | str] = field(default_factory=dict)
    begin: Begin = "auto"
    megabytes: float = MEGABYTES
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Splits(Generic[S]):
    """Disjoint sequences: no row of one side equals a row of another.

    Args:
        calibration: What importance sees.
        search: What the objectives of a search see.
        validation: What neither saw.
        facts: One sentence for each side, and one wherever duplicates were left out.
    """

    calibration: S
    search: S
    validation: S
    facts: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Hash over all three sides."""
        sides = (self.calibration, self.search, self.validation)
        joined = "".join(side.fingerprint for side in sides)
        return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def window_splits(
    tokenizer: Any, config: TextConfig | None = None, order: Order | None = None
) -> Splits[Windows]:
    """Disjoint windows for language models.

    A shared source is dealt out by whole documents where these fill all sides, else by windows.

    Args:
        tokenizer: A tokenizer of `transformers`.
        config: Which text, and how much of it.
        order: In which order calibration windows are picked out of all that fell to this side; by
            default as they come. The other sides do not depend on it.

    Raises:
        DataError: A source cannot be read, or is too short for what was asked.
    """
    config = config or TextConfig()
    made = _Made(
        "windows",
        tokenizer,
        units=lambda text: tokenised(text, tokenizer, config.begin),
        pack=lambda units: cut(units, config.length),
    )
    rows, facts = _split(config, made, order)
    sides = {side: Windows(torch.from_numpy(np.stack(found))) for side, found in rows.items()}
    return Splits(**sides, facts=facts)


def passage_splits(
    tokenizer: Any, config: TextConfig | None = None, order: Order | None = None
) -> Splits[Passages]:
    """Disjoint passages (paragraphs) for encoders; a shared source is dealt out by passages.

    The arguments are those of :func:`window_splits`.

    Raises:
        DataError: A source cannot be read, or is too short for what was asked.
    """
    config = config or TextConfig()
    made = _Made(
        "passages",
        tokenizer,
        units=lambda text: encoded(paragraphs(text.documents), tokenizer, config.length),
        pack=list,
    )
    rows, facts = _split(config, made, order)
    sides = {side: padded(found, tokenizer) for side, found in rows.items()}
    return Splits(**sides, facts=facts)


@dataclass(frozen=True, slots=True)
class _Made:
    """How sequences come to be: a text gives units, which are packed to rows."""

    noun: str
    tokenizer: Any
    units: Callable[[Text], list[Ids]]
    pack: Callable[[Sequence[Ids]], list[Ids]]


@dataclass(frozen=True, slots=True)
class _Size:
    """How much a side wants, counted in sequences or in tokens."""

    amount: int
    in_tokens: bool

    def step(self, unit: Ids) -> int:
        """How much one unit counts."""
        return len(unit) if self.in_tokens else 1

    def share(self, unit: Ids) -> float:
        """The part of what is wanted that one unit gives."""
        return self.step(unit) / self.amount

    def first(self, rows: Sequence[Ids]) -> list[Ids]:
        """The fewest first rows that are enough, or none when all are too few."""
        last = int(np.searchsorted(np.cumsum([self.step(row) for row in rows]), self.amount))
        return list(rows[: last + 1]) if last < len(rows) else []

    def picked(self, pool: Sequence[Ids], order: Order) -> list[Ids]:
        """The fewest rows that are enough, in the order in which they are picked."""
        found: list[Ids] = []
        missing = self.amount
        for position in order(pool):
            found.append(pool[position])
            missing -= self.step(pool[position])
            if missing <= 0:
                break
        return found


def _split(
    config: TextConfig, made: _Made, order: Order | None
) -> tuple[dict[Side, list[Ids]], dict[str, str]]:
    """Rows and facts of every side; rows that an earlier side took are left out of later ones."""
    if config.length < 2:
        raise DataError(f"`length` is {config.length}; sequences need at least 2 tokens")
    if unknown := sorted(set(config.sizes) - set(SIDES)):
        raise DataError(f"no side {unknown[0]!r} to size", hint=f"sides: {', '.join(SIDES)}")
    rows: dict[Side, list[Ids]] = {}
    facts: dict[str, str] = {}
    pools: dict[Side, tuple[Text, list[Ids]]] = {}
    sizes = {side: _size(config, side, windowed=made.noun == "windows") for side in SIDES}
    for source, sides in _sources(config):
        text = documents(source, config.separator, megabytes=config.megabytes)
        wanted: dict[Side, _Size] = {side: sizes[side] for side in sides}
        taken = {row.tobytes() for found in rows.values() for row in found}
        found, shares, n_dropped = _choose(made, text, wanted, taken, config)
        rows |= found
        pools |= {side: (text, share) for side, share in shares.items()}
        facts |= {f"{side} text": _fact(text, found[side], made.noun) for side in sides}
        if n_dropped:
            facts[f"{', '.join(sides)} duplicates"] = (
                f"{n_dropped:,} repeated pieces of {text.origin} were left out"
            )
    if order is not None:
        text, pool = pools["calibration"]
        others = {row.tobytes() for side in SIDES[:2] for row in rows[side]}
        pool = [row for row in pool if row.tobytes() not in others]
        rows["calibration"] = sizes["calibration"].picked(pool, order)
        told = _fact(text, rows["calibration"], made.noun)
        facts["calibration text"] = f"{told}, picked out of {len(pool):,}"
    return rows, facts


def _fact(text: Text, rows: Sequence[Ids], noun: str) -> str:
    part = "" if text.complete else ", of which the first megabytes were read"
    return f"{len(rows):,} {noun}, {sum(map(len, rows)):,} tokens of {text.origin}{part}"


def _sources(config: TextConfig) -> list[tuple[Source, list[Side]]]:
    """Every distinct source with the sides that share it."""
    own = {side: getattr(config, side) for side in SIDES}
    bare = [side for side in SIDES if own[side] is None]
    if bare and len(bare) < len(SIDES) and config.text is None:
        named = " and ".join(side for side in SIDES if side not in bare)
        raise DataError(
            f"{named} got a text of its own, {' and '.join(bare)} got none",
            hint="name one for each side, or give `text` for the rest",
        )
    groups: dict[str, tuple[Source, list[Side]]] = {}
    for side in SIDES:
        source = config.text if own[side] is None else own[side]
        groups.setdefault(_identity(source), (source, []))[1].append(side)
    return list(groups.values())


def _identity(source: Source) -> str:
    if isinstance(source, Mapping):
        return json.dumps(dict(source), sort_keys=True, default=str)
    if source is None or source == "default":
        return "default"
    return (
        str(source) if str(source).startswith("hub:") else str(Path(source).expanduser().resolve())
    )


def _size(config: TextConfig, side: Side, *, windowed: bool) -> _Size:
    asked = config.sizes.get(side, SIZES[side])
    count, _, unit = str(asked).replace(",", "").replace("_", "").strip().partition(" ")
    if not count.isdecimal() or int(count) < 1 or unit not in ("", "tokens"):
        raise DataError(
            f"the size of {side} is {asked!r}; it must be a number of sequences from 1 on",
            hint='or tokens, as in "16384 tokens"',
        )
    if windowed and not unit:
        return _Size(int(count) * config.length, in_tokens=True)
    return _Size(int(count), in_tokens=bool(unit))


def _choose(
    made: _Made, text: Text, wanted: Mapping[Side, _Size], taken: set[bytes], config: TextConfig
) -> tuple[dict[Side, list[Ids]], dict[Side, list[Ids]], int]:
    """Enough rows of one text for each side, all that fell to it, and how many pieces repeat."""
    units = made.units(text)
    require_legible(text, units, made.tokenizer, list(wanted))
    rng = stream(config.seed, "text split")
    for pool, shares in _attempts(made, units, wanted, taken, rng):
        found: dict[Side, list[Ids]] = {}
        pools: dict[Side, list[Ids]] = {}
        seen, n_dropped = set(taken), len(made.pack(units)) - len(made.pack(pool))
        for (side, size), share in zip(wanted.items(), shares, strict=True):
            rows = made.pack(share)
            fresh = [row for row in rows if row.tobytes() not in seen]
            fresh = fresh if len(wanted) == 1 else _distinct(fresh, seen)
            n_dropped += len(rows) - len(fresh)
            found[side], pools[side] = size.first(fresh), fresh
            seen |= {row.tobytes() for row in found[side]}
        if all(found.values()):
            return found, pools, n_dropped
    raise _too_short(made, text, units, wanted, config.length)


def _attempts(
    made: _Made,
    units: list[Ids],
    wanted: Mapping[Side, _Size],
    taken: set[bytes],
    rng: np.random.Generator,
) -> Iterator[tuple[list[Ids], list[list[Ids]]]]:
    """Ways to share units between sides, better ones first: what is dealt, and the shares."""
    if len(wanted) == 1:
        yield units, [units]
        return
    distinct = _distinct(units, set())
    yield distinct, _deal(distinct, wanted, rng)
    rows = _distinct(made.pack(distinct), taken)
    yield rows, _deal(rows, wanted, rng)


def _distinct(units: Sequence[Ids], seen: set[bytes]) -> list[Ids]:
    """The first of equal units, without those already seen, in their order."""
    return [u for key, u in {u.tobytes(): u for u in reversed(units)}.items() if key not in seen][
        ::-1
    ]


def _deal(
    units: Sequence[Ids], wanted: Mapping[Side, _Size], rng: np.random.Generator
) -> list[list[Ids]]:
    """All units in random order, each to the side that has the least of what it wants."""
    shares: list[list[Ids]] = [[] for _ in wanted]
    filled = np.zeros(len(wanted))
    sizes = list(wanted.values())
    for index in rng.permutation(len(units)):
        side = int(filled.argmin())
        shares[side].append(units[index])
        filled[side] += sizes[side].share(units[index])
    return shares


def _too_short(
    made: _Made, text: Text, units: Sequence[Ids], wanted: Mapping[Side, _Size], length: int
) -> DataError:
    asked = " and ".join(
        f"{size.amount:,} {'tokens' if size.in_tokens else made.noun} for {side}"
        for side, size in wanted.items()
    )
    n_rows, n_tokens = len(made.pack(units)), sum(map(len, units))
    more = "" if text.complete else ", raise `megabytes`"
    return DataError(
        f"{text.origin} gives {n_tokens:,} tokens in {n_rows:,} {made.noun} of at most "
        f"{length:,}, repeated ones included; {asked} were asked for",
        hint=f"give more text{more}, lower `sizes`, or lower `length`",
    )
