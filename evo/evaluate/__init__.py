"""From genomes to numbers: judges, chunks, memory, and the cache of what is known."""

from __future__ import annotations

from .crew import Crew, crew_of
from .evaluator import ChunkListener, Evaluator, Verdict, first_rows
from .judges import Judges
from .memory import Planner, chunking, is_out_of_memory, offer, pick_device
from .racing import Race, Rivals

__all__ = [
    "ChunkListener", "Crew", "Evaluator", "Judges", "Planner", "Race", "Rivals", "Verdict",
    "chunking", "crew_of", "first_rows", "is_out_of_memory", "offer", "pick_device",
]  # fmt: skip
