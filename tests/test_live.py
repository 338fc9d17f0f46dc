from __future__ import annotations

import io
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest

from evo import live
from evo.live import Heading, JSONLines, Lines, Table, aligned, choose, duration, number, plain
from evo.run import Generation


def test_number_has_four_significant_digits_and_letters():
    told = [number(v) for v in (12_100_000, 9870, 9999.6, 999_960, 0.41268, -0.00012346, 0, 5e13)]

    assert told == ["12.1 M", "9870", "10 k", "1 M", "0.4127", "-0.0001235", "0", "50 T"]


def test_number_scales_bytes_and_times():
    assert number(32_505_856, "bytes") == "31 MiB"
    assert number(1536, "KiB") == "1.5 MiB"
    assert number(10, "B") == "10 B"
    assert number(0.0049, "s") == "4.9 ms"
    assert number(4.9, "ms") == "4.9 ms"
    assert number(2500, "ms") == "2.5 s"
    assert number(0.25, "ms") == "250 µs"
    assert number(0.0, "ms") == "0 ms"


def test_number_keeps_other_units_behind():
    assert number(12_345_678, "MACs") == "12.35 M MACs"
    assert number(3.2, "nats") == "3.2 nats"
    assert number(-math.inf, "nats") == "-inf nats"


def test_unit_that_repeats_the_title_is_left_out():
    assert live.valued(12_100_000, "params", "params") == "12.1 M"
    assert live.valued(4.9, "latency", "ms") == "4.9 ms"


def test_number_tells_nothing_as_a_dash():
    assert number(None) == number(math.nan, "ms") == "–"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.05, "50 ms"), (3.14, "3.1 s"), (59.96, "1 min 0 s"), (112, "1 min 52 s"),
        (3599.7, "1 h 0 min"), (7500, "2 h 5 min"), (None, "–"), (math.inf, "–"),
    ],
)  # fmt: skip
def test_duration(seconds, told):
    assert duration(seconds) == told


def test_aligned_pads_left_and_right():
    rows = [["id", "params", ""], ["7", "12.1 M", "knee"]]

    assert aligned(rows) == ["  id  params", "   7  12.1 M  knee"]
    assert aligned(rows, left=1) == ["  id  params", "  7   12.1 M  knee"]
    assert aligned([]) == []


def test_plain_is_what_json_knows():
    value = {"a": np.float64(2.5), "b": np.array([1, 2]), 3: (math.nan, math.inf), "c": b"\x01"}

    assert plain(value) == {"a": 2.5, "b": [1, 2], "3": [None, None], "c": "01"}
    assert plain(np.bool_(True)) is True


def heading(generations: int | None = 40) -> Heading:
    return Heading(
        problem="prune/mixed", facts=("MiniLM", "12 sites"),
        objectives=(("drift", "min", ""), ("speed", "max", "ms")),
        algorithm="nsga2", population=100, seed=0, folder="runs/x", generations=generations,
    )  # fmt: skip


def generation(n: int, eta: float | None = 3.0, *, replayed: bool = False) -> Generation:
    return Generation(
        number=n, genomes=None, evaluation=None, population=None, hypervolume=0.41274,
        best={"drift": 0.081, "speed": 4.9}, front_size=14, evaluations=100 * (n + 1), cached=2,
        seconds=3.14159, replayed=replayed, eta_seconds=eta,
    )  # type: ignore[arg-type]  # fmt: skip


def test_heading_names_everything_with_arrows():
    assert heading().lines() == [
        "prune/mixed · MiniLM · 12 sites · drift ↓  speed ↑ · nsga2 · population 100 · seed 0",
        "run runs/x",
    ]


def test_lines_tell_some_twenty_rows_and_always_the_last():
    out = io.StringIO()
    lines = Lines(heading(generations=100), out)
    for n in range(99):
        lines.hear(generation(n))
    lines.close()

    rows = out.getvalue().splitlines()[4:]
    assert [int(row.split()[0]) for row in rows] == [*range(0, 99, 5), 98]


def test_lines_have_columns_with_units_under_their_titles():
    out = io.StringIO()
    Lines(heading(), out).hear(generation(0))

    titles, row = out.getvalue().splitlines()[3:]
    assert titles.split() == (
        ["gen", "evals", "front", "hypervolume", "drift", "best", "speed", "best", "s/gen", "eta"]
    )
    assert row.split() == ["0", "100", "14", "0.4127", "0.081", "4.9", "ms", "3.14", "3.0", "s"]
    assert titles.index("speed best") + len("speed best") == row.index("4.9 ms") + len("4.9 ms")


def test_agreement_of_predictions_has_a_column_where_there_are_any():
    out = io.StringIO()
    lines = Lines(replace(heading(), predicts=True), out)
    lines.hear(generation(0))
    lines.hear(replace(generation(2), facts={"agreement": 0.934}))

    titles, *rows = out.getvalue().splitlines()[3:]
    end = titles.index("predicted") + len("predicted")
    assert [row[:end].split()[-1] for row in rows] == ["–", "0.93"]


def test_lines_speak_after_half_a_minute(monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = Lines(heading(generations=100), out)
    for n in (0, 1, 2):
        now[0] += 20
        lines.hear(generation(n))

    assert [line.split()[0] for line in out.getvalue().splitlines()[4:]] == ["0", "2"]


def test_lines_tell_only_the_last_of_replayed_generations():
    out = io.StringIO()
    lines = Lines(heading(generations=20), out)
    for n in range(8):
        lines.hear(generation(n, replayed=n < 6))
    lines.close()

    assert [line.split()[0] for line in out.getvalue().splitlines()[4:]] == ["5", "6", "7"]


def test_table_keeps_the_newest_rows_and_no_colour_off_a_terminal():
    out = io.StringIO()
    table = Table(heading(), out)
    for n in range(30):
        table.hear(generation(n))
    table.close()

    text = out.getvalue()
    shown = [line.split()[0] for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert shown == [str(n) for n in range(10, 30)]
    assert "\x1b[" not in text
    assert "to go" not in text.splitlines()[-1]


def test_json_lines_are_one_object_per_generation():
    out = io.StringIO()
    listener = JSONLines(out)
    listener.hear(generation(0))
    listener.hear(generation(1, eta=None))

    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["best"] == {"drift": 0.081, "speed": 4.9}
    assert (first["type"], first["evaluations"]) == ("generation", 100)
    assert second["eta_seconds"] is None


def test_choose_by_streams():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = io.StringIO()
    table = choose(heading(), out=out, commentary=Terminal(), as_json=False)
    table.close()

    assert isinstance(table, Table)
    assert isinstance(choose(heading(), out=out, commentary=out, as_json=False), Lines)
    assert isinstance(choose(heading(), out=out, commentary=Terminal(), as_json=True), JSONLines)


def test_steps_never_give_more_than_the_wanted_lines():
    for planned in (1, 20, 21, 40, 399, 5000):
        assert planned / live._step(planned) <= 20
