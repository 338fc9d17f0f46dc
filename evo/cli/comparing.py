"""The command that sets runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..folders import runs_home
from ..live import aligned
from ..suggest import did_you_mean
from .output import Flag, run_folder, say, say_json, tell

if TYPE_CHECKING:
    from ..comparison import Compared, Comparison
    from ..statistics import Pair

_TOLD = ("hypervolume", "igd_plus", "epsilon", "r2", "spacing")


def compare(
    *runs: str,
    indicator: str = "hypervolume",
    paired: Flag = False,
    known: Flag = False,
    out: Path | None = None,
    json: Flag = False,
) -> None:
    """Compare runs, the baselines in them, or a whole study, on one common box.

    Args:
        runs: Folders of runs that search the same objectives, or their names; or one study.
        indicator: What tables and tests in words tell: hypervolume, igd_plus, epsilon, r2, spacing.
        paired: Test pairs of equal seeds (Wilcoxon) instead of independent runs (Mann-Whitney).
        known: Measure against the known front of the problem, which is built for it, instead of the
            best of all fronts compared.
        out: Folder for tables (text, CSV, Markdown, LaTeX) and one HTML page with the figures.
        json: Write JSON instead of tables.
    """
    if not runs:
        raise ConfigError("evo compare needs at least one run, or a study", hint="evo list runs")
    if indicator not in _TOLD:
        raise ConfigError(
            f"no indicator called {indicator!r}{did_you_mean(indicator, _TOLD)}",
            hint=f"indicators are {', '.join(_TOLD)}",
        )
    found = _comparison(runs, paired=paired, known=known)
    written: list[Path] = []
    if out is not None:
        from ..comparison.writing import write

        written = write(found, out)
    if json:
        say_json(as_mapping(found) | ({"written": [str(f) for f in written]} if written else {}))
        return
    say(_study_lines(found, indicator) if found.name else _run_lines(found, indicator))
    if written:
        say(["", f"tables, data and page: {written[0]}"])


def as_mapping(comparison: Comparison) -> dict[str, Any]:
    """What ``evo compare --json`` prints: for plain runs those of the one problem directly."""
    problems = [_problem(p) for p in comparison.problems]
    if not comparison.name:
        return problems[0]
    rankings = {
        name: {
            "mean_ranks": dict(zip(r.names, r.ranks, strict=True)), "problems": r.problems,
            "friedman_chi2": r.statistic, "friedman_p": r.p, "critical_difference": r.difference,
            "not_told_apart": [list(group) for group in r.groups],
        }
        for name, r in comparison.rankings.items()
    }  # fmt: skip
    left_out = [str(folder) for folder in comparison.left_out]
    return {
        "study": comparison.name, "problems": problems, "rankings": rankings, "left_out": left_out
    }  # fmt: skip


def _comparison(runs: tuple[str, ...], *, paired: bool, known: bool) -> Comparison:
    from ..comparison import compare_runs, compare_study
    from ..studies.folder import RECORD

    studies = [
        folder for run in runs for folder in (Path(run), runs_home() / run)
        if (folder / RECORD).is_file()
    ]  # fmt: skip
    if not studies:
        return compare_runs([run_folder(run) for run in runs], paired=paired, known=known)
    if len(runs) > 1:
        raise ConfigError(
            "evo compare takes runs, or one study, not both or several studies",
            hint="the runs inside a study can be named one by one",
        )
    return compare_study(studies[0], paired=paired, known=known)


def _problem(p: Compared) -> dict[str, Any]:
    from ..comparison import INDICATORS
    from ..indicators import REFERENCE

    box = p.facts.box
    return {
        "problem": p.name,
        "objectives": [column.name for column in p.facts.objectives],
        "fitness_box": None if box is None else {
            "ideal": box.ideal.tolist(), "nadir": box.nadir.tolist(), "reference": REFERENCE,
        },
        "target_points": p.target, "known_front": p.known,
        "groups": [_group(p, label) for label, _ in p.facts.groups],
        "tests": {name: [_test(t) for t in p.tests[name]] for name in INDICATORS},
        "test": "wilcoxon signed-rank" if p.paired else "mann-whitney",
    }  # fmt: skip


def _group(p: Compared, label: str) -> dict[str, Any]:
    from ..comparison import INDICATORS
    from ..statistics import quartiles

    scores = [s for s in p.scores if s.label == label]
    rows = [
        {
            "run": str(s.run), "seed": s.seed, "origin": s.origin, "evaluations": s.evaluations,
            "failed": s.failed, "front_size": len(s.front), **s.values,
        }
        for s in scores
    ]  # fmt: skip
    summary = []
    for s in {s.origin: s for s in scores}.values():
        spans = {name: quartiles(p.sample(name, s.contestant)) for name in INDICATORS}
        told = {n: {"median": m, "quartiles": [low, high]} for n, (low, m, high) in spans.items()}
        count = sum(other.origin == s.origin for other in scores)
        row = {"origin": s.origin, "runs": count, **told["hypervolume"], "indicators": told}
        summary.append(row)
    return {"configuration": label, "runs": rows, "summary": summary}


def _test(t: Pair) -> dict[str, Any]:
    return {
        "first": t.first, "second": t.second, "p": t.p, "p_holm": t.adjusted, "a12": t.a12,
        "better": t.better,
    }  # fmt: skip


def _run_lines(comparison: Comparison, indicator: str) -> list[str]:
    from ..comparison import INDICATORS
    from ..comparison.measure import setting

    (p,) = comparison.problems
    objectives = ", ".join(column.name for column in p.facts.objectives)
    lines = [f"{INDICATORS[indicator].title} on one common box · {objectives}"]
    for label, _ in p.facts.groups:
        lines += ["", *_group_lines(_group(p, label), indicator)]
    return [*lines, *_pair_lines(p, indicator), "", setting(p)]


def _group_lines(group: dict[str, Any], indicator: str) -> list[str]:
    from ..comparison import INDICATORS

    titles = [INDICATORS[name].title for name in _TOLD]
    table = [["run", "origin", "seed", "evals", "failed", "front", *titles]]
    for row in group["runs"]:
        told = [str(row[k]) for k in ("seed", "evaluations", "failed", "front_size")]
        table.append([row["run"], row["origin"], *told, *(_shown(row[n]) for n in _TOLD)])
    lines = [group["configuration"], *aligned(table, left=2)]
    for row in group["summary"]:
        if row["runs"] > 1:
            found = row["indicators"][indicator]
            low, high = found["quartiles"]
            told = f"median {found['median']:.4f}, quartiles {low:.4f} to {high:.4f}"
            lines.append(f"  {row['origin']}: {told}, {row['runs']} runs")
    return lines


def _shown(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"  # NaN is not equal to itself


def _pair_lines(p: Compared, indicator: str) -> list[str]:
    """The tests of one problem; the reason where there are none."""
    from ..comparison.words import too_few

    tests = p.tests[indicator]
    if not tests:
        return []
    name = "Wilcoxon signed-rank" if p.paired else "Mann-Whitney"
    rows = [["first", "second", "p", "p (Holm)", "A12", "better"]]
    rows += [
        [t.first, t.second, f"{t.p:.3g}", f"{t.adjusted:.3g}", f"{t.a12:.2f}", t.better or "–"]
        for t in tests
    ]
    weak = too_few(p)
    return ["", f"{name} tests", *aligned(rows, left=2), *([f"  {weak}"] if weak else [])]


def _study_lines(comparison: Comparison, indicator: str) -> list[str]:
    from ..comparison import INDICATORS, tables
    from ..comparison.measure import setting
    from ..comparison.words import left_out, too_few

    row = INDICATORS[indicator]
    if comparison.left_out:
        tell(f"evo: warning: {left_out(comparison)}")
    told = tables.starred(comparison, row)
    lines = [f"{comparison.name} · {row.title}", *tables.text(comparison, indicator), f"  {told}"]
    weak = dict.fromkeys(filter(None, map(too_few, comparison.problems)))
    lines += [f"  {sentence}" for sentence in weak]
    ranking = comparison.rankings.get(indicator)
    if ranking is None:
        lines += ["", "mean ranks need two problems and two contestants that have values on both"]
    else:
        order = sorted(zip(ranking.ranks, ranking.names, strict=True))
        lines += ["", f"mean ranks over {ranking.problems} problems",
                  *aligned([[name, f"{rank:.2f}"] for rank, name in order], left=1),
                  f"  Friedman p = {ranking.p:.3g}, critical difference {ranking.difference:.2f} "
                  "(Nemenyi)"]  # fmt: skip
        lines += [f"  not told apart: {', '.join(group)}" for group in ranking.groups]
    return [*lines, "", *(f"{p.name}: {setting(p)}" for p in comparison.problems)]
