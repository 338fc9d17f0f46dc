"""From genomes to numbers: judges, chunks, memory, and the cache of what is known."""

from __future__ import annotations

from .judges import Judges
from .local import ChunkListener, LocalEvaluator, Verdict, first_rows
from .memory import Planner, first_chunk, is_out_of_memory, pick_device, planned
from .racing import Race, Rivals

__all__ = [
    "ChunkListener", "Judges", "LocalEvaluator", "Planner", "Race", "Rivals", "Verdict",
    "first_chunk", "first_rows", "is_out_of_memory", "pick_device", "planned",
]  # fmt: skip
