"""Runs set side by side: a study made by hand with known answers, its tables and its page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from handmade import Page, written

from evo.cli import main
from evo.comparison import compare_runs, compare_study, tables
from evo.comparison.attainment import surfaces
from evo.comparison.measure import setting
from evo.comparison.writing import write
from evo.errors import ConfigError, StoreError
from evo.indicators import epsilon_additive, hypervolume, igd_plus, r2, spacing
from evo.report.facts import bands
from evo.streams import stream

BEST, MIDDLE, WORST = (0.0, 0.25, 0.5, 0.75, 1.0), (4, 4.25, 4.5, 4.75, 5), (9, 9.25, 9.5, 9.75, 10)
HAND = {
    "p1": {"a": BEST, "b_x": MIDDLE, "c": WORST},
    "p2": {"a": BEST, "b_x": MIDDLE, "c": WORST},
    "p3": {"a": BEST, "b_x": MIDDLE, "c": WORST},
    "p4": {"a": MIDDLE, "b_x": BEST, "c": WORST},
}


def study(folder: Path, values=HAND, *, finished=True) -> Path:
    """A study whose runs have one point (v, v) each; v by problem, algorithm and seed."""
    cells = []
    for problem, algorithms in values.items():
        for label, seeds in algorithms.items():
            for seed, v in enumerate(seeds):
                name = f"{problem}-{label}-s{seed}"
                written(folder / name, [[v, v]], seed=seed, complete=finished)
                cells.append({"problem": problem, "label": label, "seed": seed, "run": name})
    record = {"format": 1, "name": "by-hand", "cells": cells}
    (folder / "study.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    return study(tmp_path_factory.mktemp("hand"))


@pytest.fixture(scope="module")
def out(hand, tmp_path_factory):
    """Where everything about the study made by hand is written."""
    folder = tmp_path_factory.mktemp("out")
    assert write(compare_study(hand), folder)[0] == folder / "compare.html"
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_indicators_of_a_study_made_by_hand(hand):
    p1 = compare_study(hand).problems[0]

    u = np.array(MIDDLE) / 10  # the box reaches from 0 to 10, the target is (0, 0)
    assert np.allclose(p1.sample("hypervolume", "b_x"), (1.1 - u) ** 2 / 1.21)
    assert np.allclose(p1.sample("igd_plus", "b_x"), np.sqrt(2) * u)
    assert np.allclose(p1.sample("epsilon", "b_x"), u)
    assert np.allclose(p1.sample("r2", "b_x"), 0.75 * u)  # mean of the larger of w and 1 - w
    assert p1.sample("spacing", "b_x").size == 0  # one point has no neighbour
    assert p1.target == 1


def test_pairs_of_a_study_made_by_hand(hand):
    p1 = compare_study(hand).problems[0]

    for name in ("hypervolume", "igd_plus", "epsilon", "r2"):
        found = {(t.first, t.second): t for t in p1.tests[name]}
        assert [t.better for t in found.values()] == ["a", "a", "b_x"]
        for t in found.values():
            assert t.p == pytest.approx(2 / 252)  # five of ten chosen, both ends
            assert t.adjusted == pytest.approx(3 * 2 / 252)
            assert t.a12 == 1.0


def test_ranks_of_a_study_made_by_hand(hand):
    ranking = compare_study(hand).rankings["hypervolume"]

    assert dict(zip(ranking.names, ranking.ranks, strict=True)) == {"a": 1.25, "b_x": 1.75, "c": 3}
    assert ranking.statistic == pytest.approx(6.5)  # 12 · 4 / 12 · (1.25² + 1.75² + 3² − 12)
    assert ranking.p == pytest.approx(np.exp(-3.25))
    assert ranking.difference == pytest.approx(2.343 * np.sqrt(12 / 24), abs=0.001)
    assert ranking.groups == (("a", "b_x"), ("b_x", "c"))
    assert "spacing" not in compare_study(hand).rankings


def test_the_latex_table_of_a_study_made_by_hand(out):
    text = (out / "tables.tex").read_text(encoding="utf-8")

    body = text[text.index(r"\label{tab:hypervolume}") :]
    body = body[body.index(r"\begin{tabular}") : body.index(r"\end{tabular}")]
    a, b, c = "0.9112 (0.087)", "0.3492 (0.054)", "0.0186 (0.012)"
    assert body.splitlines() == [
        r"\begin{tabular}{lrrr}", r"\toprule", r"problem & a & b\_x & c \\", r"\midrule",
        *(rf"p{i} & \textbf{{{a}}} & {b} & {c} \\" for i in (1, 2, 3)),
        rf"p4 & {b} & \textbf{{{a}}} & {c} \\",
        r"\bottomrule",
    ]  # fmt: skip
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5
    assert "Median and interquartile range of 5 runs; more is better." in text
    assert not [line for line in text.splitlines() if "_" in line.replace(r"\_", "")
                and not line.startswith("%")]  # fmt: skip


def test_the_other_tables_hold_the_same(out):
    text, marked = ((out / f"tables.{kind}").read_text("utf-8") for kind in ("txt", "md"))

    assert "| p1 | **0.9112 (0.087)** | 0.3492 (0.054) | 0.0186 (0.012) |" in marked
    assert text.splitlines()[2].split() == [
        "p1", "0.9112", "(0.087)", "*", "0.3492", "(0.054)", "0.0186", "(0.012)",
    ]  # fmt: skip
    assert "the reference point of the hypervolume lies at 1.1 in every objective" in text
    assert "(f0 0 to 10, f1 0 to 10)" in text
    (row,) = [
        r for r in rows(out / "medians.csv")
        if (r["indicator"], r["problem"], r["contestant"]) == ("igd_plus", "p4", "c")
    ]  # fmt: skip
    assert float(row["median"]) == pytest.approx(np.sqrt(2) * 0.95)
    assert (row["runs"], row["best"]) == ("5", "0")
    assert len(rows(out / "runs.csv")) == 60
    assert {r["run"] for r in rows(out / "runs.csv")} >= {"p1-b_x-s3"}
    assert len(rows(out / "tests.csv")) == 4 * 4 * 3
    assert {r["mean_rank"] for r in rows(out / "ranks.csv")} == {"1.25", "1.75", "3.0"}


def test_a_tie_is_marked_where_no_test_tells_it_from_the_best(tmp_path):
    near = tuple(v + 0.1 for v in BEST)
    found = compare_study(study(tmp_path, {"p": {"a": BEST, "near": near, "c": WORST}}))

    entries = tables.entries(found.problems[0], "hypervolume")

    assert [(e.best, e.level) for e in entries.values()] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip
    assert "†" in tables.text(found, "hypervolume")[1]
    assert r"$^\dagger$" in tables.latex(found)


def test_the_page_shows_tables_tests_and_critical_differences(out, hand):
    page = Page(out / "compare.html")

    assert page.sections == ["tables", "ranks", *(f"problem-p{i}" for i in (1, 2, 3, 4))]
    assert page.tables["table-hypervolume"][1] == [
        "p1", "0.9112 (0.087) ★", "0.3492 (0.054)", "0.0186 (0.012)",
    ]  # fmt: skip
    assert page.tables["tests-p4"][1][:3] == ["hypervolume", "a", "b_x"]
    assert page.tables["tests-p4"][1][-1] == "b_x"
    assert "12 of 12 pairs differ significantly in hypervolume" in page.text
    assert "significantly better than another: 7 times for a and 5 times for b_x." in page.text
    assert not [link for link in page.loads if not link.startswith("#")]
    drawn = page.figures["ranks-hypervolume"]
    ends = [t["x"] for t in drawn["data"] if t["line"]["width"] == 5]
    assert np.allclose(ends, [[1.22, 1.78], [1.72, 3.03]])
    (length,) = [t["x"] for t in drawn["data"] if t["line"]["width"] == 2.5]
    assert length[1] - length[0] == pytest.approx(1.657, abs=0.001)
    names = [note["text"] for note in drawn["layout"]["annotations"]]
    assert {"a (1.25)", "b_x (1.75)", "c (3.00)", "critical difference 1.66"} < set(names)
    points = {t["name"]: t["y"] for t in page.figures["runs"]["data"]}
    assert points["a"][:5] == pytest.approx(sorted((1.1 - np.array(BEST) / 10) ** 2 / 1.21)[::-1])


def test_unfinished_runs_of_a_study_are_left_out_and_told(tmp_path, capsys):
    folder = study(tmp_path, {"p": {"a": BEST, "b": MIDDLE}})
    written(folder / "p-b-s9", [[2, 2]], seed=9, complete=False)
    record = json.loads((folder / "study.json").read_text())
    more = [{"problem": "p", "label": "b", "seed": s, "run": f"p-b-s{s}"} for s in (9, 10)]
    record["cells"] += more
    (folder / "study.json").write_text(json.dumps(record))

    assert main(["compare", str(folder)]) == 0

    told, err = capsys.readouterr()
    assert "2 runs not finished and left out: p-b-s9, p-b-s10." in err
    assert "Median and interquartile range of 5 runs" in told
    assert "mean ranks need two problems" in told


def test_a_study_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no run of the study"):
        compare_study(study(tmp_path, {"p": {"a": (1.0,)}}, finished=False))


def test_compare_tells_a_study_in_words_and_as_json(hand, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EVO_RUNS", str(hand.parent))

    assert main(["compare", hand.name, "--indicator", "igd_plus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "by-hand · IGD+"
    assert "  not told apart: a, b_x" in lines
    assert "  Friedman p = 0.0388, critical difference 1.66 (Nemenyi)" in lines
    assert main(["compare", hand.name, "--json", "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rankings"]["r2"]["mean_ranks"] == {"a": 1.25, "b_x": 1.75, "c": 3.0}
    assert [p["problem"] for p in told["problems"]] == ["p1", "p2", "p3", "p4"]
    assert told["problems"][0]["tests"]["epsilon"][0]["better"] == "a"
    assert all(Path(file).is_file() for file in told["written"])


def test_pairs_of_seeds_are_tested_when_asked(hand, tmp_path, capsys):
    assert main(["compare", str(hand), "--paired", "--json"]) == 0

    test = json.loads(capsys.readouterr().out)["problems"][0]["tests"]["r2"][0]
    assert test["p"] == pytest.approx(2 / 32)  # five gaps of one sign
    apart = [written(tmp_path / str(s), [[s, s]], seed=s, config={"algorithm": {"id": f"a{s}"}})
             for s in (0, 1)]  # fmt: skip
    with pytest.raises(ConfigError, match="two seeds at least"):
        compare_runs(apart, paired=True)


BAD = [
    (["{hand}", "--indicator", "hypervolum"], "did you mean 'hypervolume'?"),
    (["{hand}", "{hand}/p1-a-s0"], "takes runs, or one study"),
    (["{hand}", "--out", "{hand}/study.json"], "needs a folder, but"),
    (["nothing"], "no run called 'nothing'"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[told for _, told in BAD])
def test_wrong_usage_is_one_sentence(words, told, hand, capsys):
    assert main(["compare", *(w.replace("{hand}", str(hand)) for w in words)]) == 2

    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("evo:")]
    assert told in line


def random_runs(folder, n, m, goals=None):
    draw = stream(7, "runs", m)
    points = [draw.random((12, m)) * 10 ** np.arange(m) for _ in range(n)]
    configs = [{"algorithm": {"id": f"a{i // 3}"}} for i in range(n)]
    return points, [
        written(folder / str(i), points[i], seed=i % 3, goals=goals, config=configs[i])
        for i in range(n)
    ]


@pytest.mark.parametrize("m", [2, 3])
def test_indicators_share_one_box_and_one_target(m, tmp_path):
    goals = ["min"] * (m - 1) + ["max"]
    points, folders = random_runs(tmp_path, 6, m, goals)

    (p,) = compare_runs(folders).problems

    sign = np.array([1.0] * (m - 1) + [-1.0])
    fronts = []
    for values in points:
        f = values * sign
        fronts.append(f[[not ((f <= r).all(1) & (f < r).any(1)).any() for r in f]])
    every = np.concatenate(fronts)
    low, high = every.min(axis=0), every.max(axis=0)
    scaled = [(f - low) / (high - low) for f in fronts]
    target = np.concatenate(scaled)
    for score in p.scores:
        f = scaled[int(score.run.name)]
        assert score.values == pytest.approx({
            "hypervolume": hypervolume(f, 1.1) / 1.1**m,
            "igd_plus": igd_plus(f, [t for t in target if not (
                (target <= t).all(1) & (target < t).any(1)).any()]),
            "epsilon": epsilon_additive(f, target), "r2": r2(f), "spacing": spacing(f),
        })  # fmt: skip


def test_a_known_front_gives_box_and_target_when_asked(tmp_path, capsys):
    # the front of ZDT1 reaches from (0, 1) to (1, 0)
    config = {"problem": {"id": "synthetic/zdt1"}}
    names = ["f1", "f2"]
    on = written(tmp_path / "on", [[0.25, 0.5]], seed=0, names=names, config=config)
    off = written(tmp_path / "off", [[0.5, 2.0], [2.0, 0.5]], seed=1, names=names, config=config)

    p = compare_runs([on, off], known=True).problems[0]

    near, far = p.scores
    assert near.values["hypervolume"] == pytest.approx(0.85 * 0.6 / 1.21)
    assert near.values["epsilon"] == pytest.approx(0.5)  # to reach (1, 0)
    assert far.values["hypervolume"] == 0
    assert [float(c.volume[-1]) for c in p.facts.curves] == pytest.approx([0.85 * 0.6 / 1.21, 0])
    assert main(["compare", str(on), "--known"]) == 0
    assert "scaled by the known front (f1 0 to 1, f2 0 to 1)" in capsys.readouterr().out
    other = {"problem": {"id": "mortal:Mortal"}}
    assert main(["compare", str(written(tmp_path / "o", [[1, 1]], config=other)), "--known"]) == 2
    assert "knows no front" in capsys.readouterr().err
    one = written(tmp_path / "1", [[1.0, 1.0]], config=config)
    with pytest.raises(ConfigError, match="knows the front of f1, f2, but the run searched f0, f1"):
        compare_runs([one], known=True)


def test_the_target_of_very_many_points_is_thinned_and_said_so(tmp_path, monkeypatch):
    _, folders = random_runs(tmp_path, 4, 3)
    monkeypatch.setattr("evo.comparison.measure.TARGET", 12)

    (p,) = compare_runs(folders).problems

    total = sum(len(score.front) for score in p.scores)
    assert p.step == -(-total // 12) > 1
    assert p.target <= 12 + len(folders)
    assert f"together from every {p.step}th of their points ({p.target} points)" in setting(p)


def test_attainment_surfaces_are_what_shares_of_runs_reach(tmp_path):
    _, folders = random_runs(tmp_path, 6, 2, ["min", "max"])
    (p,) = compare_runs(folders).problems

    found = surfaces(p)

    assert [(s.contestant, s.share, s.runs) for s in found] == [
        (c, share, 3) for c in ("a0", "a1") for share in (25, 50, 75)
    ]
    for s in found:
        fronts = [score.front for score in p.scores if score.contestant == s.contestant]
        assert len(s.corners) > 0
        for corner in s.corners * [1.0, -1.0]:
            reach = np.mean([(front <= corner).all(axis=1).any() for front in fronts])
            assert reach >= s.share / 100
            for better in (corner - [1e-6, 0], corner - [0, 1e-6]):
                beyond = np.mean([(front <= better).all(axis=1).any() for front in fronts])
                assert beyond < s.share / 100
    assert surfaces(compare_runs(random_runs(tmp_path / "three", 2, 3)[1]).problems[0]) == []


def test_curves_by_minutes_hold_the_last_known_value(tmp_path):
    for seed in (0, 1):
        words = ["--population", "8", "--generations", "5", "--seed", str(seed)]
        assert main(["run", "synthetic/zdt1", *words, "--out", str(tmp_path / str(seed))]) == 0
    facts = compare_runs([tmp_path / "0", tmp_path / "1"]).problems[0].facts

    (band,) = bands(facts, "minutes")

    def held(curve, t):
        return [v for at, v in zip(curve.minutes, curve.volume, strict=True) if at <= t][-1]

    assert (np.diff(band.at) > 0).all()
    assert band.at[-1] == min(curve.minutes[-1] for curve in facts.curves)
    for t, middle in zip(band.at, band.median, strict=True):
        assert middle == pytest.approx(np.mean([held(curve, t) for curve in facts.curves]))


def test_nothing_feasible_is_told_and_not_ranked(tmp_path):
    run = written(tmp_path / "r", [[1.0, 1.0]], feasible=np.array([False]))

    (p,) = compare_runs([run]).problems

    assert p.scores[0].values == pytest.approx({
        "hypervolume": 0.0, "igd_plus": np.inf, "epsilon": np.inf, "r2": np.inf, "spacing": np.nan,
    }, nan_ok=True)  # fmt: skip
