"""The pruning problem: one integer per site of a pretrained transformer, judged in sweeps."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError, RegistryError
from evo.genomes import Genomes
from evo.problem import Context, Objective
from evo.space import Choice, SearchSpace
from evo.streams import stream
from operators import RNG

from . import asking, cost, footprint, library, models, paging, quality, starts, variants
from .allocate.knee import bounded
from .data import Data
from .objectives import offered
from .pruned_batch import PrunedBatch
from .sampling import require_known
from .sites import Cost, SiteTable, places
from .sweep import Sweep
from .tally import Tally, head_macs

USABLE = {"encoder": "drift < 0.3", "lm": "kl < 0.5"}  # where a compromise is looked for
FEWEST = 2  # sequences that a search may begin on
DEFAULT_VARIANTS = ("removal", "heads", "width")


class Mixed:
    """Search any mixture of pruning choices, one per site of a pretrained transformer.

    Args:
        model: Folder, hub name, or None for the embedded sentence encoder all-MiniLM-L6-v2.
        variants: Kinds of choices, see ``evo list variants``; with levels as in
            ``width@0.5,0.75``, settings as in ``ria(exponent=0.3)``, any N:M as in ``2:4``,
            ``2:4@sparsegpt`` or ``2:4(permute=true)@ria``; or ``module:attr``.
        sites: Where choices are made: ``submodule``, ``linear`` or ``block``.
        text: Text for everything: None (the interpreter's documentation), a file, a folder,
            ``hub:NAME`` or a mapping.
        calibration: Another source for the importance of weights.
        search: Another source for the objectives.
        validation: Another source for the final judgement.
        sampling: How calibration text is chosen out of all that is not search or validation text:
            ``random``, ``zipcal`` (most different words) or ``perplexity`` (what the dense language
            model predicts best).
        separator: Line that separates documents in a file.
        length: Tokens per sequence; by default 64 for encoders and 256 for language models.
        sizes: Sequences (or ``"4096 tokens"``) of calibration, search and validation.
        pairs: File of sentence pairs with scores (encoders); offers ``spearman``.
        validation_pairs: Another such file for the final judgement; else every fourth pair.
        pooling: ``mean``, ``cls`` or ``last``; by default what the model's folder says, else mean.
        order: How neurons and heads are ranked: ``output`` or ``activation``.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``stored``: what the model's files hold,
            which then are mapped into memory instead of read.
        traversal: ``auto``, ``depth``, ``breadth`` or ``layer``; results are the same. ``layer``
            passes all text through a block before the next one, so that a model whose weights are
            mapped (``dtype="stored"``) may be larger than memory.
        tokens_at_once: Most tokens of a micro-batch.
        states_memory: Gigabytes of hidden states kept from generation to generation, so that
            children are computed from their first change on; 0 keeps none. By default half of the
            free memory, or the part of that which the process has of the cores
            (``OMP_NUM_THREADS``); 2 where ``evaluator.memory`` limits it.
        allocators: Published allocations of sparsity that join the warm starts where sites offer
            several sparsities: ``uniform``, ``owl``, ``erk``, and the dearer ``alphapruning``,
            ``neuroal`` and ``ecoflap``; settings in brackets as in ``owl(spread=0.1)``. An empty
            list asks for none.
        knee: Judge uniform sparsities first, and leave out those further than this beyond the
            point where the model falls off; None leaves out none.
        seed: Decides which sequences go to which split.
        cache: Folder for the variant library; ``"off"`` keeps none.
        trust_remote_code: Run modelling code that comes with the model.
    """

    default_objectives: Sequence[str]
    variation: Mapping[str, Any] = MappingProxyType(
        {
            "crossover": "one-point",
            "surrogate": True,
            "unguided": {"crossover": {"id": "one-point", "late": 0.5}, "mutation_rate": 0.0},
        }
    )
    """Sites are in order of depth, so children of a cut share a prefix with a parent; judging is
    dear and smooth in the choices, so predicting pays. Where all that is asked for is judged,
    children share more when they are either cut, half of them late, or mutated."""

    def __init__(
        self,
        model: str | None = None,
        variants: Sequence[str] = DEFAULT_VARIANTS,
        sites: str = "submodule",
        text: str | Mapping[str, Any] | None = None,
        calibration: str | Mapping[str, Any] | None = None,
        search: str | Mapping[str, Any] | None = None,
        validation: str | Mapping[str, Any] | None = None,
        sampling: str = "random",
        separator: str | None = None,
        length: int | None = None,
        sizes: Mapping[str, int | str] | None = None,
        pairs: str | None = None,
        validation_pairs: str | None = None,
        pooling: str | None = None,
        order: str = "output",
        dtype: str = "float32",
        traversal: str = "auto",
        tokens_at_once: int = 2048,
        states_memory: float | None = None,
        allocators: Sequence[str] = starts.ALLOCATORS,
        knee: float | None = None,
        seed: int = 0,
        cache: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self._asked, self._order = asking.asked(variants), asking.known_order(order)
        self._allocators = asking.allocators(allocators)
        require_known(sampling)
        if traversal == "layer":
            paging.give_back_freed()
        self.pretrained = models.load(model, dtype=dtype, trust_remote_code=trust_remote_code)
        self.kind = self.pretrained.kind
        self._cache = None if cache == "off" else Path(cache).expanduser() if cache else _cache()
        self.data = Data.load(
            self.pretrained,
            sources={
                "text": text, "calibration": calibration, "search": search, "validation": validation
            },
            separator=separator, length=length, sizes=sizes or {}, seed=seed,
            pairs=pairs, validation_pairs=validation_pairs, pooling=pooling,
            tokens_at_once=tokens_at_once, sampled=sampling, cache=self._cache,
        )  # fmt: skip
        self._tally = Tally()
        self._traversal = traversal
        self._spared = states_memory is None
        self._states_memory = int(1e9 * (2.0 if states_memory is None else states_memory))
        self.validation = True
        self._latency: dict[str, Any] = {}
        self._latency_settings: dict[str, int] = {"batch": 1, "length": 0, "repeats": cost.REPEATS}
        self._knees: dict[str, str] = {}
        if knee is not None:
            self._asked, self._knees = bounded(self, self._asked, knee, stream(seed, "knee"))
        self.table = self._sites(sites)
        self.default_objectives = (
            ("drift", "params", "latency")
            if self.kind == "encoder"
            else ("kl", "params", "kv_bytes")
        )

    def again(
        self, variants: Sequence[Any], sites: str = "submodule", *, order: str | None = None
    ) -> Mixed:
        """The same model, text and settings with other choices.

        Args:
            variants: Kinds of choices, by name or as kinds themselves.
            sites: Where they are made.
            order: Another ranking of neurons and heads than this problem's.
        """
        other = self._copy()
        other._asked = asking.asked(variants)
        other._order = self._order if order is None else asking.known_order(order)
        other.table = other._sites(sites)
        return other

    def polished(self, genomes: Genomes) -> tuple[Mixed, Genomes]:
        """A problem in which one candidate (n = 1) is made again on its own pruned prefix.

        Returns:
            The problem, whose sites offer dense and what was made; and the candidate in it.
        """
        from .polish import polished

        table, taken = polished(
            self.pretrained, self.table, genomes["choices"][0], self.library, self._asked,
            batches=self.data.batches("calibration"),
            fingerprint=self.data.fingerprints["calibration"], order=self._order,
        )  # fmt: skip
        other = self._copy()
        other.table = table
        return other, Genomes({"choices": taken[None]})

    def _copy(self) -> Mixed:
        """A copy without what depends on the choices, which shares everything else."""
        other = copy.copy(self)
        for name in ("space", "objectives", "_sweep", "_references"):
            other.__dict__.pop(name, None)
        other._latency, other._knees, other._tally = {}, {}, Tally()
        other._latency_settings = dict(self._latency_settings)
        return other

    # -- what is searched --------------------------------------------------------------------------

    def _sites(self, granularity: str) -> SiteTable:
        pretrained, levels = self.pretrained, variants.sparsity_levels(self._asked)
        self.library = library.build(
            pretrained, self.data.batches("calibration"), order=self._order, sparsities=levels,
            calibration_id=self.data.fingerprints["calibration"], cache=self._cache,
            patterns=variants.update_patterns(self._asked),
            scorers=variants.group_scorers(self._asked),
            kinds=[one.kind for one in self._asked],
        )  # fmt: skip
        itemsize = next(pretrained.model.parameters()).element_size()
        found = variants.sites(
            places(
                pretrained.blocks, granularity, itemsize=itemsize,
                tokens=self.data.attended, caches=self.kind == "lm",
                length=self.data.length,
            ),
            self.library, self._asked,
        )  # fmt: skip
        found = [s for s in found if len(s.variants) > 1]
        total = sum(p.numel() for p in pretrained.model.parameters())
        searched = sum(s.variants[0].cost.params for s in found)
        fixed = places(
            pretrained.blocks, "submodule", itemsize=itemsize,
            tokens=self.data.attended, caches=self.kind == "lm",
        )  # fmt: skip
        dense = [p.cost() for p in fixed]
        head = head_macs(pretrained)
        base = Cost(
            total - searched,
            head + sum(c.macs for c in dense) - sum(s.variants[0].cost.macs for s in found),
            (total - searched) * itemsize,
            sum(c.kv_bytes for c in dense) - sum(s.variants[0].cost.kv_bytes for s in found),
        )
        return SiteTable(tuple(found), base)

    @cached_property
    def space(self) -> SearchSpace:
        """One integer per site, ordered from dense to smallest."""
        return SearchSpace((Choice("choices", self.table.sizes),))

    @property
    def constraints(self) -> Sequence[Any]:
        """None of its own; limits on offered objectives are the run's."""
        return ()

    @cached_property
    def objectives(self) -> Sequence[Objective]:
        """Everything offered; see ``evo show prune/mixed``."""
        return offered(self)

    def configure(self, name: str, **settings: Any) -> Objective:
        """An offered objective with settings: ``latency`` takes batch, length and repeats.

        Raises:
            ConfigError: The objective takes no such setting.
        """
        found = {o.name: o for o in self.objectives}.get(name)
        if found is None:
            raise RegistryError(f"no objective called {name!r} in this problem")
        wrong = [k for k in settings if name != "latency" or k not in self._latency_settings]
        if wrong:
            raise ConfigError(f"objective {name!r} has no setting called {wrong[0]!r}")
        if name == "latency":
            if any(not isinstance(v, int) or v < 1 for v in settings.values()):
                raise ConfigError(f"settings of latency are whole numbers above 0, got {settings}")
            self._latency_settings.update(settings)
            self._latency = {}
        return found

    def batch(self, genomes: Genomes, context: Context) -> PrunedBatch:
        """Decode n candidates; nothing is computed before an objective asks."""
        self.space.check(genomes)
        return PrunedBatch(self, genomes["choices"], context)

    # -- judging -----------------------------------------------------------------------------------

    def sweep(self, device: str = "cpu") -> Sweep:
        """The engine on a device; the model moves there."""
        if str(self.pretrained.device) != device and self.pretrained.device.type != device:
            self.pretrained.model.to(device)
            self.__dict__.pop("_sweep", None)
            self._references.clear()
        return self._sweep

    def spare(self, room: int) -> None:
        """Keep so many bytes of hidden states, unless the settings say how many."""
        if self._spared:
            self._states_memory = room
            self._sweep.keep(room)

    @cached_property
    def _sweep(self) -> Sweep:
        return Sweep(
            self.pretrained, self.table, order=self._traversal, states=self._states_memory,
            tally=self._tally,
        )  # fmt: skip

    @cached_property
    def _references(self) -> dict[tuple[str, str], Any]:
        return {}

    def reader(self, split: str, parts: int = 0) -> Any:
        """What reads quality off the sweep on a split; the dense model's part is computed once.

        Args:
            split: Of the text.
            parts: Read the micro-batches of its first so many fair parts instead of its own.
        """
        key = (split, f"reader of {parts} parts")
        if key not in self._references:
            some = self.data.parts(split)[:parts]
            batches = [b for part in some for b in part.batches] or self.data.batches(split)
            with self._tally.timing("teacher"):
                self._references[key] = self._made_reader(batches)
        return self._references[key]

    def _made_reader(self, batches: Sequence[Any]) -> Any:
        if self.kind == "lm":
            return quality.LanguageReader(quality.teachers(self._sweep, batches))
        dense = quality.dense_embeddings(self._sweep, batches, self.data.pooling)
        return quality.DriftReader(self.data.pooling, dense)

    def work(self) -> Mapping[str, float]:
        """Counts of what was done in this process so far; see :class:`.tally.Tally`."""
        return self._tally.counts()

    def latency_of(self, batch: PrunedBatch) -> NDArray[np.float64]:
        """Milliseconds by the table of sites and variants, (n,)."""
        measured = self.measured_latency(batch.context.device)
        return self.table.look_up(cost.table_of(measured), batch.choices).sum(1) + measured["base"]

    def measured_latency(self, device: str = "cpu") -> dict[str, Any]:
        """Milliseconds per site and variant, measured once per run."""
        if not self._latency:
            sweep = self.sweep(device)
            with self._tally.timing("latency"):
                self._latency = cost.measure(
                    sweep, self._latency_batch(), self._latency_settings["repeats"]
                )
        return self._latency

    def _latency_batch(self) -> Any:
        wanted = self._latency_settings
        return self.data.uniform(wanted["batch"], wanted["length"] or self.data.length)

    def measurements(self) -> Mapping[str, Any]:
        """What was measured on this machine and later values depend on; the run keeps it."""
        return {"latency": self._latency} if self._latency else {}

    def measure(self, names: Sequence[str], device: str) -> None:
        """Measure what these objectives need measured, while nothing else runs."""
        if "latency" in names:
            self.measured_latency(device)

    def restore(self, measurements: Mapping[str, Any]) -> None:
        """Use a run's own measurements again, so that resumed values agree with recorded ones."""
        self._latency = dict(measurements.get("latency") or {})

    def confirm(
        self, genomes: Genomes, values: Mapping[str, Any]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Latency of whole pruned models, for a front; other objectives are exact already."""
        if "latency" not in values:
            return {}
        sweep, batch = self.sweep(str(self.pretrained.device)), self._latency_batch()
        with self._tally.timing("latency"):
            return {"latency": cost.confirm(sweep, genomes["choices"], batch)}

    def close(self) -> None:
        """Let go of kept states and teachers; judging again makes them anew."""
        self.__dict__.pop("_sweep", None)
        self.__dict__.pop("_references", None)

    # -- starting points ---------------------------------------------------------------------------

    def starts(self, n: int, rng: RNG) -> Genomes:
        """Dense, uniform levels, allocations and one-change genomes, at most n."""
        allocated = starts.allocations(self, self._allocators, rng)
        return Genomes({"choices": starts.mixture(self.table, n, rng, allocated)})

    def ladder(self) -> Genomes:
        """The uniform baseline: every site at the variant nearest to one share."""
        return Genomes({"choices": starts.ladder(self.table)})

    # -- facts -------------------------------------------------------------------------------------

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of model and text; a resumed run must find the same."""
        names = [[v.name for v in s.variants] for s in self.table.sites]
        choices = hashlib.blake2b(json.dumps(names).encode(), digest_size=16).hexdigest()
        texts = {f"{split} text": value for split, value in self.data.fingerprints.items()}
        found = {"model": self.pretrained.fingerprint, "variants": choices, **texts}
        pairs = self.data.pairs_fingerprint
        return found | ({"pairs": pairs} if pairs else {})

    @property
    def bytes_per_candidate(self) -> int:
        """A hint for the planner: outputs, and hidden states as far as a sweep holds many at once.

        Breadth first these are those of a micro-batch, layer by layer those of all the text.
        """
        batches = max(self._texts, key=lambda many: sum(b.ids.numel() for b in many))
        positions = {
            "depth": 0, "breadth": 12 * self.data.tokens_at_once,
            "layer": sum(b.ids.numel() for b in batches),
        }[self.sweep_order]  # fmt: skip
        return 64 * sum(len(b.ids) for b in batches) + positions * self._width + 4096

    def low_fidelity(self, names: Sequence[str], asked: float = 0.0) -> float:
        """Share of the text that a search begins on: that asked for, :data:`FEWEST` at least."""
        if "spearman" in names:  # of pairs, which are judged whole
            return 1.0
        ends = np.cumsum([len(part.rows) for part in self.data.parts("search")])
        least = min(max(FEWEST, asked * ends[-1] - 0.5), ends[-1])
        return float(ends[ends >= least][0] / ends[-1])

    @property
    def bytes_beside(self) -> int:
        """A hint for the planner: what judging takes whatever the number of candidates."""
        return footprint.beside(
            self.pretrained, self.table, self._texts, self.data.tokens_at_once,
            states=self._states_memory if self.sweep_order == "depth" else 0,
            by_layer=self.sweep_order == "layer",
        )  # fmt: skip

    @property
    def _texts(self) -> Sequence[Sequence[Any]]:
        """Micro-batches of the splits that candidates are judged on."""
        return [self.data.batches(split) for split in ("search", "validation")]

    @property
    def _width(self) -> int:
        """Bytes of a hidden state per position."""
        return int(self.pretrained.config.hidden_size) * self.pretrained.dtype.itemsize

    @property
    def sweep_order(self) -> str:
        """``depth`` or ``breadth``."""
        return self._sweep.order

    def describe(self) -> Mapping[str, Any]:
        """Facts for report and ``evo show``."""
        dense = Genomes({"choices": quality.dense_choices(self._sweep)})
        judged = PrunedBatch(self, dense["choices"], Context())
        names = ["params", "macs", "weight_bytes"] + (["kv_bytes"] if self.kind == "lm" else [])
        offered = {o.name: o for o in self.objectives}
        facts = {
            "model": f"{self.pretrained.name}, {type(self.pretrained.model).__name__}",
            "layout": f"{len(self.pretrained.blocks)} blocks of layout "
            f"{self.pretrained.blocks[0].layout.name}",
            **self.data.facts,
            **self._knees,
        }
        return {
            "title": f"{self.pretrained.name} · {len(self.table)} sites",
            "model": self.pretrained.name,
            "choices_part": "choices",
            "usable": [USABLE[self.kind]],
            "sites": [
                {
                    "name": s.name, "kind": s.kind, "depth": s.depth,
                    "variants": [
                        {
                            "name": v.name, "kind": v.kind, "params": v.cost.params,
                            "macs": v.cost.macs, "weight_bytes": v.cost.weight_bytes,
                            "kv_bytes": v.cost.kv_bytes,
                        }
                        for v in s.variants
                    ],
                }
                for s in self.table.sites
            ],
            "dense": {n: float(offered[n](judged)[0]) for n in names},
            "facts": facts,
        }  # fmt: skip

    def export(
        self, genomes: Genomes, folder: Path, *, expected: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Write one candidate (n = 1) as a model folder that reloads; see :mod:`.export`."""
        from .export import export

        return export(self, genomes["choices"][0], folder, expected=expected)


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("evoprune")
