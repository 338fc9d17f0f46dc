"""The report, read back as a browser would: parsed HTML against the run file."""

import base64
import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest
from handmade import Page, naive_front, written
from scipy.stats import spearmanr

import evo.folders
import evo.report
from evo.archive import compare_origins
from evo.config import RunConfig
from evo.errors import ConfigError, StoreError
from evo.indicators import rank_correlation
from evo.report import sections, write_report
from evo.report.facts import gather
from evo.report.maps import shares
from evo.report.markup import data
from evo.report.plot import decades, log_scale, window
from evo.run import Run
from evo.space import Choice, SearchSpace
from evo.store import Column, RunFile, read_run

HOSTILE = "<script>alert('x')</script>\"&<img src=https://evil.example/x.png>"


def searched(folder, problem="synthetic/layers", generations=4, **more):
    """A finished run of the real loop."""
    settings = problem if isinstance(problem, dict) else {"id": problem}
    given = RunConfig.from_mapping(
        {
            "problem": settings,
            "algorithm": {"id": more.pop("algorithm", "nsga2"), "population": 12},
            "stop": {"generations": generations},
            **more,
        }
    )
    run = Run.create(given, folder)
    for _ in run:
        pass
    run.finish()
    run.close()
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run with baselines and validation, and its page."""
    folder = searched(tmp_path_factory.mktemp("full") / "run", baseline=True, metrics=["removed"])
    return read_run(folder), Page(write_report([folder]))


def test_every_section_is_there_in_order_once(full):
    view, page = full

    assert page.sections == ["asked", "answer", "journey", "map", "baselines", "sure", "repeat"]
    assert (view.folder / "report.html").is_file()


def test_the_front_table_equals_the_run_file(full):
    view, page = full
    c = view.candidates
    rows = view.front_rows()

    assert sorted(int(values[0]) for _, _, values in page.front) == sorted(c.id[rows].tolist())
    place = {int(i): k for k, i in enumerate(c.id)}
    for name, command, values in page.front:
        k = place[int(name)]
        expected = [float(name), c.values[k, 0], c.validation[k, 0], *c.values[k, 1:]]
        assert values == pytest.approx(expected, rel=0, abs=0)
        assert command.endswith(f"{view.folder} {name} --to candidate-{name}")
    assert page.tables["front-table"][1] == ["search", "validation"]


def test_front_rows_are_sorted_by_the_first_objective_and_mark_knee_and_bests(full):
    _, page = full
    column = [values[1] for _, _, values in page.front]
    cells = [row[0] for row in page.tables["front-table"][2:]]

    assert column == sorted(column)
    assert cells[0].endswith("best loss")
    assert sum("knee" in cell for cell in cells) == 1
    assert sum("best params" in cell for cell in cells) == 1
    best = min(page.front, key=lambda entry: entry[2][3])
    assert next(cell for cell in cells if "best params" in cell).startswith(best[0])


def test_goals_decide_what_is_best_and_where_the_knee_lies(tmp_path):
    values = [[1.0, 9.0], [3.0, 8.0], [4.0, 1.0], [2.0, 2.0]]
    folder = written(tmp_path / "run", values, goals=["max", "max"])

    page = Page(write_report([folder]))

    assert [name for name, _, _ in page.front] == ["3", "2", "1"]
    assert page.best == [("3", 4.0), ("1", 9.0)]
    assert "its knee, candidate 2, has f0 3 and f1 8." in page.text
    # Normalised fitness: (0, 1), (1/3, 1/8), (1, 0) in a box whose corner lies at 1.1.
    volume = 1.1 * 0.1 + (1.1 - 1 / 3) * (1 - 1 / 8) + (1.1 - 1) * (1 / 8)
    growth = page.figures["growth"]["data"][0]
    assert growth["y"] == [pytest.approx(volume / 1.21)]
    assert page.figures["best"]["data"][1]["y"] == [9.0]


def test_the_matrix_draws_front_and_candidates_with_their_values(full):
    view, page = full
    spec = page.figures["front"]
    traces = {trace["name"]: trace for trace in spec["data"]}
    c = view.candidates
    rows = view.front_rows()

    front = traces["front"]
    assert front["line"]["shape"] == "hv"
    assert [int(i) for i in front["customdata"]] == c.id[rows].tolist()
    assert np.allclose(front["y"], c.values[rows, 1], rtol=1e-6)
    light = traces["all candidates"]
    assert len(light["y"]) == int((c.ok & (c.origin == "search")).sum())
    assert front["mode"] == "lines+markers"
    assert light["mode"] == "markers"
    assert {"uniform", "random", "greedy", "knee"} <= set(traces)
    assert "↓" in spec["layout"]["xaxis"]["title"]["text"]
    assert "(nats" in spec["layout"]["xaxis"]["title"]["text"]


def test_steps_follow_the_goal_of_the_horizontal_axis(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 1.0], [2.0, 0.5]], goals=["max", "max"])

    page = Page(write_report([folder]))

    front = next(t for t in page.figures["front"]["data"] if t["name"] == "front")
    assert front["line"]["shape"] == "vh"  # up to x = 1 the better of both is reached


def test_baseline_table_agrees_with_the_comparison_of_the_run(full):
    view, page = full
    expected = compare_origins(view)

    rows = {row[0]: row for row in page.tables["baseline-table"][1:]}

    assert set(rows) == {"search", "uniform", "random", "greedy"}
    for origin, volume in expected.items():
        assert rows[origin.removeprefix("baseline:")][3] == f"{volume:.4f}"
    count = int((view.candidates.origin == "baseline:random").sum())
    assert rows["random"][1] == f"{count:,}"


def test_dominated_share_of_a_baseline_is_counted_by_hand(full):
    view, page = full
    c, fitness = view.candidates, view.fitness
    found = fitness[c.on_front]
    mine = np.flatnonzero((c.origin == "baseline:uniform") & c.ok)
    front = fitness[mine[naive_front(fitness[mine])]]
    beaten = [any((f <= row).all() and (f < row).any() for f in found) for row in front]

    row = next(row for row in page.tables["baseline-table"] if row[0] == "uniform")

    assert row[4] == f"{np.mean(beaten):.0%}"


def test_convergence_is_the_recorded_one_by_evaluation_and_minute(full):
    view, page = full
    lines = [t for t in page.figures["growth"]["data"] if t["name"] == "search"]
    by_count, by_time = lines
    done = view.generations

    assert np.allclose(by_count["y"], [g.hypervolume for g in done], rtol=1e-6)
    assert by_count["x"] == np.cumsum([g.evaluated for g in done]).tolist()
    assert np.allclose(by_time["x"], np.cumsum([g.seconds for g in done]) / 60, rtol=1e-6)
    assert "reference" in page.text


def test_recorded_hypervolumes_equal_those_measured_anew(full):
    view, page = full
    facts = gather([view])
    assert facts.track is not None
    rows = facts.pool.fitness[facts.front]

    assert facts.curves[0].volume[-1] == pytest.approx(facts.track.volume(rows), rel=1e-9)
    random = next(t for t in page.figures["growth"]["data"] if t["name"] == "random")
    recorded = view.baselines["baseline:random"][-1].hypervolume
    assert random["y"][-1] == pytest.approx(recorded, rel=1e-6)


def test_best_values_never_get_worse_and_end_at_the_front(full):
    view, page = full
    lines = page.figures["best"]["data"]
    values = view.candidates.values[view.front_rows()]

    for j, line in enumerate(lines):
        assert line["y"] == sorted(line["y"], reverse=True)
        assert line["y"][-1] == pytest.approx(values[:, j].min(), rel=1e-6)


def test_validation_figure_and_correlation_equal_independent_ones(full):
    view, page = full
    rows = view.front_rows()
    search, other = view.candidates.values[rows, 0], view.candidates.validation[rows, 0]

    points = page.figures["validation"]["data"][1]

    assert np.allclose(np.sort(points["y"]), np.sort(other), rtol=1e-6)
    assert f"loss {spearmanr(search, other).statistic:.3f}" in page.text
    merged = np.stack([other, view.candidates.values[rows, 1]], axis=1)
    stays = len(naive_front(merged))
    assert (
        f"On validation data, {stays} of {len(rows)} front members stay non-dominated" in page.text
    )


def test_members_that_fall_behind_on_validation_data_are_counted(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    file = RunFile.open(folder)
    file.judge("validation", [1, 2, 3], ["f0", "f1"], np.array([[1, 3], [2, 0.5], [3, 1.0]]))
    file.judge("confirmed", [1, 2, 3], ["f1"], np.array([[3.5], [2.0], [1.0]]))
    file.close()

    page = Page(write_report([folder]))

    assert "On validation data, 2 of 3 front members stay non-dominated" in page.text
    assert "Measured again, 3 of 3 front members stay non-dominated" in page.text
    assert page.front[0][2] == [1.0, 1.0, 3.0, 3.0, 3.5]
    assert page.tables["front-table"][1] == ["search", "validation", "confirmed"]
    assert {"validation", "confirmed"} <= set(page.figures)


def test_rank_correlation_handles_ties_gaps_and_constants():
    rng = np.random.default_rng(3)
    a = rng.integers(0, 5, 40).astype(float)
    b = a + rng.integers(0, 4, 40)
    gaps = np.where(np.arange(40) % 7 == 0, np.nan, b)
    seen = np.isfinite(gaps)

    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(a, gaps) == pytest.approx(spearmanr(a[seen], b[seen]).statistic)
    assert np.isnan(rank_correlation(a, np.ones(40)))
    assert np.isnan(rank_correlation(a[:1], b[:1]))


def test_genome_map_tells_the_kept_share_of_every_member_and_site(full):
    view, page = full
    sites = view.meta["describe"]["sites"]
    rows = view.front_rows()
    heat = page.figures["map"]["data"][0]
    order = sorted(range(len(sites)), key=lambda s: sites[s]["depth"])

    for i, row in enumerate(rows):
        for column, s in enumerate(order):
            variants = sites[s]["variants"]
            pick = int(view.candidates.genomes["choices"][row, s])
            kept = variants[pick]["params"] / max(v["params"] for v in variants)
            assert heat["z"][i][column] == pytest.approx(kept, rel=1e-6)
            assert str(variants[pick]["name"]) in heat["text"][i][column]
    sorts = page.figures["map"]["layout"]["meta"]["sorts"]
    assert [s["name"] for s in sorts] == ["loss", "params"]
    params = view.candidates.values[rows, 1]
    assert (np.diff(params[sorts[1]["order"]]) >= 0).all()


def test_the_dense_point_is_the_candidate_left_dense_everywhere(tmp_path):
    kinds = [{"name": "off", "kind": "removal"}, {"name": "on", "kind": "dense"}]
    site = {"name": "s", "kind": "x", "depth": 0, "variants": [v | {"params": 1} for v in kinds]}
    describe = {"sites": [site] * 12, "choices_part": "choices", "dense": {"f1": 8.0}}
    x = np.arange(4096.0)  # candidate k has the bits of k - 1 as choices
    folder = written(tmp_path / "run", np.stack([x, -x], axis=1), describe=describe)

    page = Page(write_report([folder]))

    dense = next(t for t in page.figures["front"]["data"] if t["name"] == "dense")
    assert (dense["x"], dense["y"]) == ([4095.0], [8.0])  # measured, unless the problem says so


def test_a_site_without_parameters_is_measured_by_its_cache():
    cache = {"variants": [{"params": 0, "kv_bytes": 8}, {"params": 0, "kv_bytes": 2}]}
    same = {"variants": [{"params": 5}, {"params": 5}]}

    assert shares(cache).tolist() == [1.0, 0.25]
    assert shares(same).tolist() == [1.0, 1.0]


def test_parts_without_data_are_left_out(tmp_path):
    folder = searched(tmp_path / "run", "synthetic/zdt1", generations=2)

    page = Page(write_report([folder]))

    assert page.sections == ["asked", "answer", "journey", "sure", "repeat"]
    assert not {"validation", "map", "baselines", "spread"} & set(page.figures)
    assert "chance has not been measured" in page.text
    assert "seed=1" in page.text


def test_nothing_is_loaded_from_anywhere(full):
    _, page = full
    policy = next(m["content"] for m in page.meta if m.get("http-equiv"))
    style = re.findall(r"<style>(.*?)</style>", page.source, flags=re.S)

    assert all(link.startswith("#") for link in page.loads)
    assert not {"link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_is_embedded_once(full):
    _, page = full

    assert page.source.count("* plotly.js v") == 1
    assert 3e6 < len(page.source) < 12e6


def test_every_figure_is_a_valid_plotly_figure_with_a_box_and_axis_titles(full):
    import plotly.graph_objects as go

    _, page = full

    for name, spec in page.figures.items():
        go.Figure(spec)  # raises for anything plotly does not know
        assert f'id="plot-{name}"' in page.source
    assert set(page.figures) == {
        "front", "growth", "best", "map", "baselines", "validation",
    }  # fmt: skip


def test_hostile_texts_stay_texts(tmp_path):
    site = {
        "name": HOSTILE, "kind": "x", "depth": 0,
        "variants": [{"name": HOSTILE, "params": 2}, {"name": "b", "params": 1}],
    }  # fmt: skip
    describe = {
        "title": HOSTILE, "model": HOSTILE, "facts": {HOSTILE: HOSTILE},
        "sites": [site] * 12, "choices_part": "choices",
    }  # fmt: skip
    folder = written(
        tmp_path / "a<b>&'c", [[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]], unit=HOSTILE,
        ok=[True, True, False], reasons=["", "", HOSTILE], describe=describe,
        config={"constraints": [HOSTILE], "algorithm": {"id": HOSTILE}},
    )  # fmt: skip
    (folder / "config.toml").write_text(f"# {HOSTILE}\n", encoding="utf-8")
    file = RunFile.open(folder)
    file.event("warning", HOSTILE)
    file.close()

    page = Page(write_report([folder]))

    assert "img" not in page.tags
    assert "evil.example" not in " ".join(page.loads)
    assert "<script>alert" not in page.source
    assert page.text.count(HOSTILE) >= 8
    assert any(HOSTILE in cell for row in page.tables["failures-table"] for cell in row)
    assert any(HOSTILE in cell for row in page.tables["events-table"] for cell in row)
    assert "<img" not in json.dumps(page.figures)  # plotly reads some tags in texts


def test_names_of_run_folders_stay_texts_in_figures(tmp_path):
    odd = "<img src=https:x>"
    folders = [
        written(tmp_path / f"{odd}{k}", [[1.0 + k, 2.0, 3.0], [2.0, 1.0 + k, 3.0 - k]], seed=k)
        for k in range(2)
    ]

    page = Page(write_report(folders))

    assert "img" not in page.tags
    told = [t for trace in page.figures["front"]["data"] for t in trace.get("hovertext", [])]
    assert any("&lt;img" in text for text in told)
    assert not any("<img" in text for text in told)
    assert page.front[0][0].startswith(odd)


def test_data_in_the_page_cannot_close_its_element():
    text = data({"a": "</script><script>alert(1)</script>", "b": float("nan")}, "id='x'")

    assert text.count("<") == 2
    inside = text[text.index(">") + 1 : text.rindex("</script>")]
    assert json.loads(inside) == {"a": "</script><script>alert(1)</script>", "b": None}


def test_failed_candidates_are_listed_by_reason_and_never_on_the_front(tmp_path):
    folder = written(
        tmp_path / "run", [[3.0, 3.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 4.0]],
        ok=[True, False, False, False, True], reasons=["", "late", "bad sum", "late", ""],
    )  # fmt: skip

    page = Page(write_report([folder]))

    assert page.tables["failures-table"][1:] == [["2", "late", "2, 4"], ["1", "bad sum", "3"]]
    assert [name for name, _, _ in page.front] == ["5", "1"]
    assert "5 evaluations, 3 failed" in page.text


def test_an_empty_front_gives_a_page_that_says_so(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0]], feasible=np.array([False]))

    page = Page(write_report([folder]))

    assert page.sections == ["asked", "answer", "journey", "sure", "repeat"]
    assert "There is no front yet: 1 candidate judged; 0 failed, 1 not feasible." in page.text
    assert page.front == []
    assert page.figures == {}


def test_a_run_without_any_candidate_can_be_reported(tmp_path):
    space = SearchSpace((Choice("choices", [2]),))
    file = RunFile.create(tmp_path / "run", {}, space, [Column("loss", "min", "", 1e-9, True)])
    file.close()

    page = Page(write_report([tmp_path / "run"]))

    assert "the search has just begun" in page.text
    assert "unfinished" in page.source


def test_a_live_run_is_reported_while_it_goes_on(tmp_path):
    given = RunConfig.from_mapping(
        {"problem": {"id": "synthetic/layers"}, "algorithm": {"population": 12}}
    )
    run = Run.create(given, tmp_path / "run")
    generations = iter(run)
    next(generations)
    next(generations)

    page = Page(write_report([tmp_path / "run"]))
    run.close()

    view = read_run(tmp_path / "run")
    assert not view.complete
    assert "Not finished yet" in page.text
    assert f"{len(view.candidates)} candidates" in page.text
    assert len(page.front) == len(view.front_rows())


def test_candidates_of_an_incomplete_generation_are_not_taken_for_feasible(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0], [2.0, 1.0]], complete=False)

    page = Page(write_report([folder]))

    assert page.front == []
    assert "0 failed, 2 not feasible" in page.text


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
def test_one_to_six_objectives_have_all_pairs_and_all_axes(tmp_path, m):
    rng = np.random.default_rng(m)
    goals = ["min", "max", "min", "max", "min", "max"][:m]
    folder = written(tmp_path / "run", rng.random((60, m)), goals=goals)

    page = Page(write_report([folder]))

    spec = page.figures["front"]
    fronts = [t for t in spec["data"] if t["name"] == "front"]
    assert len(fronts) == max(1, m * (m - 1) // 2)
    assert len({(t.get("xaxis"), t.get("yaxis")) for t in fronts}) == len(fronts)
    assert len(page.front) == int(read_run(folder).candidates.on_front.sum())
    assert ('id="parallel"' in page.source) == (m > 2)
    if m > 1:
        axes = page.choice["columns"]
        assert [axis["goal"] for axis in axes] == goals
        values = np.array(page.choice["values"])
        for axis, own in zip(axes, values.T, strict=True):
            shown = np.log10(own) if axis["log"] else own
            assert [axis["low"], axis["high"]] == pytest.approx([shown.min(), shown.max()])
            assert len(axis["ticks"]) == 6
    else:
        assert page.choice is None


def test_seven_objectives_have_one_panel_whose_axes_are_picked(tmp_path):
    values = np.random.default_rng(7).random((40, 7))
    values[:, 5] = -values[:, 2]  # these two cannot both be good
    folder = written(tmp_path / "run", values)

    page = Page(write_report([folder]))

    spec = page.figures["front"]
    front = next(i for i, t in enumerate(spec["data"]) if t["name"] == "front")
    rows = read_run(folder).front_rows()
    for j, own in enumerate(spec["layout"]["meta"]["values"][front]):
        assert np.allclose(own, values[rows, j], rtol=1e-6)
    assert np.allclose(spec["data"][front]["x"], values[rows, 2], rtol=1e-6)
    assert np.allclose(spec["data"][front]["y"], values[rows, 5], rtol=1e-6)
    assert [a["title"]["text"][:2] for a in spec["layout"]["meta"]["axes"]] == [
        f"f{j}" for j in range(7)
    ]
    assert page.source.count("<option") == 14


def test_the_data_of_the_choice_are_those_of_the_run_to_the_last_digit(tmp_path):
    values = np.random.default_rng(3).random((50, 3)) * 1e6
    folder = written(
        tmp_path / "run", values, goals=["min", "max", "min"],
        describe={"title": "Toy", "usable": ["f0 < 5e5"]},
    )  # fmt: skip
    view = read_run(folder)
    rows = view.front_rows()

    told = Page(write_report([folder])).choice

    assert told["values"] == view.candidates.values[rows].tolist()
    assert told["ids"] == view.candidates.id[rows].tolist()
    assert told["ideal"] == view.fitness[rows].min(axis=0).tolist()
    assert told["nadir"] == view.fitness[rows].max(axis=0).tolist()
    assert told["usable"] == (view.candidates.values[rows, 0] < 5e5).tolist()


def test_only_the_scripts_of_the_page_may_run(full):
    _, page = full
    policy = next(m["content"] for m in page.meta if m.get("http-equiv"))
    scripts = re.findall(r"<script>(.*?)</script>", page.source, flags=re.S)

    known = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]

    assert len(scripts) == 2
    assert [f"'sha256-{digest}'" for digest in known] == re.findall(r"'sha256-[^']*'", policy)
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


def test_many_candidates_are_thinned_evenly_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("evo.report.figures.POINTS", 250)
    monkeypatch.setattr("evo.report.figures.MEMBERS", 20)
    x = np.linspace(0, 1, 400)
    values = np.concatenate([np.stack([x, 1 - x], 1), np.stack([x + 1, 2 - x], 1)])
    folder = written(tmp_path / "run", values)

    page = Page(write_report([folder]))
    again = Page(write_report([folder], tmp_path / "again.html"))

    light = next(t for t in page.figures["front"]["data"] if t["name"] == "all candidates")
    assert len(light["x"]) == 250
    assert "250 of 800 feasible candidates are drawn lightly" in page.text
    assert 20 <= len(page.front) <= 23
    assert f"{len(page.front)} of 400 shown, evenly spaced" in page.text
    assert page.source == again.source
    tags = " ".join(row[0] for row in page.tables["front-table"])
    assert all(mark in tags for mark in ("knee", "best f0", "best f1"))


def test_several_runs_give_the_quartiles_of_numpy(tmp_path):
    folders = [searched(tmp_path / f"s{seed}", seed=seed) for seed in range(4)]
    target = write_report(folders)

    page = Page(target)

    assert target == tmp_path / "compare.html"
    facts = gather([read_run(folder) for folder in folders])
    last = min(int(curve.evaluations[-1]) for curve in facts.curves)
    finals = [float(c.volume[c.evaluations <= last][-1]) for c in facts.curves]
    expected = [f"{q:.4f}" for q in np.percentile(finals, [25, 50, 75])]
    header, row = page.tables["bands-table"]
    assert header[1] == "runs"
    assert row[1:3] == ["4", f"{last:,}"]
    assert row[3:] == expected
    assert "n = 4 runs" in page.text
    low, high, median = page.figures["spread"]["data"]
    assert high["fill"] == "tonexty"
    assert np.all(np.array(low["y"]) <= median["y"])
    assert np.all(np.array(median["y"]) <= high["y"])
    assert {row[2] for row in page.tables["runs-table"][1:]} == {"0", "1", "2", "3"}


def test_the_front_of_several_runs_is_that_of_their_union(tmp_path):
    one = written(tmp_path / "one", [[1.0, 3.0], [3.0, 2.0]])
    two = written(tmp_path / "two", [[2.0, 1.0], [4.0, 4.0]], seed=1)

    page = Page(write_report([one, two]))

    assert [name for name, _, _ in page.front] == ["one:1", "two:1"]
    assert page.front[1][1].endswith("two 1 --to candidate-1")
    assert "2 of 4 candidates in 2 runs form the front" in page.text


def test_runs_are_grouped_by_configuration_without_the_seed(tmp_path):
    folders = [
        written(tmp_path / f"{id}{seed}", [[1.0 + seed, 2.0], [2.0, 1.0]], seed=seed,
                config={"algorithm": {"id": id, "population": 5}})
        for id in ("nsga2", "random")
        for seed in (0, 1)
    ]  # fmt: skip

    facts = gather([read_run(folder) for folder in folders])

    assert facts.groups == (("nsga2", (0, 1)), ("random", (2, 3)))


def test_runs_with_other_objectives_are_refused(tmp_path):
    one = written(tmp_path / "one", [[1.0, 3.0]])
    two = written(tmp_path / "two", [[1.0, 3.0]], goals=["min", "max"])

    with pytest.raises(ConfigError, match="must search the same objectives"):
        write_report([one, two])


def test_a_failed_write_leaves_the_old_report_and_no_litter(tmp_path, monkeypatch):
    folder = written(tmp_path / "run", [[1.0, 2.0]])
    target = tmp_path / "out" / "page.html"
    target.parent.mkdir()
    target.write_text("old", encoding="utf-8")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evo.folders.os, "fsync", full_disk)
    with pytest.raises(StoreError, match="No space left on device"):
        write_report([folder], target)

    assert target.read_text(encoding="utf-8") == "old"
    assert os.listdir(target.parent) == ["page.html"]


def test_bad_input_is_told_in_one_sentence(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0]])

    with pytest.raises(ConfigError, match="at least one run folder"):
        write_report([])
    with pytest.raises(StoreError, match="holds no run"):
        write_report([tmp_path])
    with pytest.raises(ConfigError, match="got the folder"):
        write_report([folder], tmp_path)


def test_a_folder_named_twice_counts_once(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0]])

    assert write_report([folder, str(folder)]) == folder / "report.html"


def test_how_to_repeat_shows_commands_configuration_and_versions(full):
    view, page = full

    for text in ("evo run ", "evo resume ", "evo front ", view.meta["fingerprint"]):
        assert text in page.text
    assert (view.folder / "config.toml").read_text().strip() in page.text
    for name, version in view.meta["versions"].items():
        assert f"{name} {version}" in page.text


def test_a_lost_configuration_file_is_replaced_by_the_recorded_settings(tmp_path):
    folder = searched(tmp_path / "run", generations=2)
    (folder / "config.toml").unlink()

    assert '"synthetic/layers"' in Page(write_report([folder])).text


def test_a_moved_run_is_still_reported(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0]])
    shutil.move(folder, tmp_path / "else where")

    page = Page(write_report([tmp_path / "else where"]))

    assert "'" in page.front[0][1]  # the path is quoted for the shell


def test_log_scale_needs_width_and_room_for_zeros():
    less, more = Column("a", "min", "", 1e-9, True), Column("b", "max", "", 1e-9, True)
    wide = np.array([0.01, 0.1, 1.0, 10.0, 10.0])

    assert log_scale(less, wide)
    assert not log_scale(more, wide)
    assert not log_scale(less, -wide)
    assert not log_scale(less, np.array([1.0, 2.0]))
    zeros = np.append(wide, 0.0)
    assert log_scale(less, zeros)
    assert decades(zeros)[-1] < decades(zeros)[:-1].min()
    assert np.allclose(decades(zeros)[:-1], np.log10(wide))


def test_windows_hold_the_front_and_most_but_not_all_of_the_cloud():
    column = Column("a", "min", "", 1e-9, True)
    front, cloud = np.array([1.0, 2.0]), np.append(np.linspace(1, 3, 99), 1e6)

    low, high = window(column, front, log=False, light=cloud)

    assert low < 1.0
    assert 2.9 < high < 3.5
    assert window(column, np.empty(0), log=False) == [0.0, 1.0]
    low, high = window(column, np.array([4.0]), log=False)
    assert low < 4.0 < high


def test_settings_read_as_words():
    assert sections._short({"search": 40, "validation": 8}) == "search 40, validation 8"
    assert sections._short(["removal", "2:4"]) == "removal, 2:4"
    assert sections._short("x" * 400) == "x" * 297 + "…"


def test_fewer_members_are_shown_where_each_is_in_more_panels():
    from evo.report import figures

    shown = [figures.members(m) for m in (1, 2, 5, 6, 10, 15, 30)]

    assert shown == [800, 800, 800, 533, 177, 100, 100]
