import errno
import os
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo import schema
from evo.errors import StoreError
from evo.folders import default_folder
from evo.genomes import Genomes
from evo.problem import Evaluation
from evo.schema import FILE, Layout
from evo.space import Choice, Mask, Real, SearchSpace, Subset
from evo.store import Column, RunFile, read_run
from evo.streams import stream
from evo.view import usable_knee

SPACE = SearchSpace((Choice("choices", [3] * 4), Mask("keep", 2), Real("share", 0, 1)))
COLUMNS = (Column("loss", "min", "nats", 1e-6, True), Column("order", "max", "", 1.0, False))
META = {"describe": {"title": "toy"}, "status": "running"}


def make(folder, **more) -> RunFile:
    return RunFile.create(folder, {**META, **more}, SPACE, COLUMNS)


def results(n: int, seed: int = 0) -> Evaluation:
    rng = np.random.default_rng(seed)
    values = np.stack([rng.normal(size=n) / 3, rng.integers(0, 9, n).astype(float)], axis=1)
    ok = np.arange(n) % 4 != 3
    values[~ok] = np.nan
    violations = np.where(ok[:, None], rng.normal(size=(n, 3)) ** 2, np.nan)
    reasons = tuple("" if good else "objective 'loss' returned nan" for good in ok)
    shares, samples = np.where(np.arange(n) % 3, 1.0, 1 / 3), rng.normal(size=(n, 2, 5))
    return Evaluation(values, violations, ok, np.full(n, 0.25), reasons, shares, samples)


def fill(file: RunFile, n: int = 8, number: int = 0, origin: str = "search"):
    genomes = SPACE.sample(n, stream(number, origin))
    evaluation = results(n, number)
    file.begin(origin, number, genomes, "chunk 5")
    cuts = np.array_split(np.arange(n), 2)
    for rows in cuts:
        part = Evaluation(
            evaluation.values[rows], evaluation.violations[rows], evaluation.ok[rows],
            evaluation.seconds[rows], tuple(evaluation.reasons[i] for i in rows),
            evaluation.shares[rows], evaluation.samples[rows],
        )  # fmt: skip
        file.append(origin, number, rows, genomes.take(rows), part, seconds=1.5)
    return genomes, evaluation


def fill_until_it_breaks(file: RunFile) -> None:
    for number in range(1, 100):
        fill(file, 40, number)


def test_everything_written_is_read_back_bit_for_bit(tmp_path):
    file = make(tmp_path / "run", host={"name": "x"})
    genomes, evaluation = fill(file)
    file.complete(
        "search", 0, asked=9, hypervolume=0.1 + 0.2, seconds=0.5,
        violation={1: 0.0, 2: 1 / 3}, entered=[1, 3],
    )  # fmt: skip
    file.event("memory", "smaller")
    file.judge("validation", [3, 1], ["loss"], np.array([[np.pi], [np.nan]]))
    file.judge("confirmed", [3], ["order", "loss"], np.array([[1.0, 2.0]]))
    kept = file.samples(2)
    file.close()

    view = read_run(tmp_path / "run")

    c = view.candidates
    assert c.genomes.rows() == genomes.rows()
    assert np.array_equal(c.values, evaluation.values, equal_nan=True)
    assert c.ok.tolist() == evaluation.ok.tolist()
    assert tuple(c.reason) == evaluation.reasons
    assert c.share.tolist() == evaluation.shares.tolist()
    whole = [i for i in range(8) if evaluation.ok[i] and evaluation.shares[i] == 1]
    assert sorted(kept) == [i + 1 for i in whole]
    assert all(np.array_equal(kept[i + 1], evaluation.samples[i]) for i in whole)
    assert c.id.tolist() == list(range(1, 9))
    assert c.slot.tolist() == list(range(8))
    assert np.array_equal(c.violation[:2], [0.0, 1 / 3])
    assert np.isnan(c.violation[2:]).all()
    assert c.on_front.tolist() == [True, False, True] + [False] * 5
    assert c.validation[2].tolist()[0] == np.pi
    assert np.isnan(c.validation[0]).all()
    assert c.confirmed[2].tolist() == [2.0, 1.0]
    (row,) = view.generations
    assert (row.evaluated, row.cached, row.hypervolume) == (8, 1, 0.1 + 0.2)
    assert row.seconds == 3.5
    assert row.complete
    assert [(e.kind, e.text) for e in view.events] == [("memory", "smaller")]
    assert view.columns == COLUMNS
    assert view.parts == (("choices", "choice", 4), ("keep", "mask", 2), ("share", "real", 1))
    assert view.meta["host"] == {"name": "x"}
    assert not view.complete


@given(n=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_packing_genomes_is_exact_for_every_kind_of_part(n, seed):
    half = Real("half", [-3.0] * 2, 3.0, "float32")
    space = SearchSpace((*SPACE.parts, Subset("seeds", 300, 5), half))
    genomes = space.sample(n, stream(seed))
    layout = Layout.of(space)

    back = layout.unpack(b"".join(layout.pack(genomes)))

    space.check(back)
    assert back.rows() == genomes.rows()


def test_packed_genomes_are_little_endian_on_every_machine():
    space = SearchSpace((Choice("a", [400, 3]),))
    genomes = space.repair(Genomes({"a": np.array([[258, 1]])}))

    assert Layout.of(space).pack(genomes) == [b"\x02\x01\x01\x00"]
    space = SearchSpace((Real("a", [0.0], [9.0], "float32"),))
    genomes = space.repair(Genomes({"a": np.array([[1.0]])}))
    assert Layout.of(space).pack(genomes) == [b"\x00\x00\x80\x3f"]


def test_the_front_reads_best_first_in_the_first_objective(tmp_path):
    file = make(tmp_path / "run")
    _, evaluation = fill(file)
    file.complete("search", 0, asked=8, hypervolume=0.0, seconds=0, violation={}, entered=[1, 2, 3])
    file.close()
    view = read_run(tmp_path / "run")

    rows = view.front_rows()

    assert sorted(rows.tolist()) == [0, 1, 2]
    assert (np.diff(evaluation.values[rows, 0]) >= 0).all()
    assert view.fitness.shape == (8, 1)


def test_baselines_are_kept_apart_from_the_search(tmp_path):
    file = make(tmp_path / "run")
    fill(file)
    fill(file, 3, 0, "baseline:random")
    file.close()
    view = read_run(tmp_path / "run")

    assert (view.candidates.origin == "baseline:random").sum() == 3
    assert len(view.generations) == 1
    assert [g.origin for g in view.baselines["baseline:random"]] == ["baseline:random"]


def test_a_genome_is_recorded_once_per_origin_and_a_failed_chunk_leaves_nothing(tmp_path):
    file = make(tmp_path / "run")
    genomes, evaluation = fill(file)

    with pytest.raises(StoreError):
        file.append("search", 0, np.arange(8), genomes, evaluation)

    assert len(read_run(tmp_path / "run").candidates) == 8
    file.event("after", "still writable")
    file.close()


def test_an_empty_run_is_readable(tmp_path):
    make(tmp_path / "run").close()

    view = read_run(tmp_path / "run")

    assert len(view.candidates) == 0
    assert view.candidates.values.shape == (0, 2)
    assert view.candidates.genomes["choices"].shape == (0, 4)
    assert len(view.front_rows()) == 0


def test_a_live_run_is_read_without_disturbing_its_writer(tmp_path):
    file = make(tmp_path / "run")
    fill(file)

    before = len(read_run(tmp_path / "run").candidates)
    fill(file, 4, 1)

    assert (before, len(read_run(tmp_path / "run").candidates)) == (8, 12)
    file.close()


def test_a_closed_run_is_one_file_and_reading_it_leaves_nothing_behind(tmp_path):
    file = make(tmp_path / "run")
    fill(file)
    file.close()

    read_run(tmp_path / "run")

    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["run.lock", "run.sqlite"]


def test_a_folder_that_cannot_be_written_can_be_read(tmp_path):
    file = make(tmp_path / "run")
    fill(file)
    file.close()
    (tmp_path / "run").chmod(0o555)

    assert len(read_run(tmp_path / "run").candidates) == 8
    (tmp_path / "run").chmod(0o755)


def test_a_second_writer_is_told_who_writes(tmp_path):
    file = make(tmp_path / "run")

    with pytest.raises(StoreError, match=f"being written by process {os.getpid()} on "):
        RunFile.open(tmp_path / "run")

    file.close()
    RunFile.open(tmp_path / "run").close()


def test_a_folder_that_holds_a_run_or_other_files_is_refused(tmp_path):
    make(tmp_path / "run").close()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")

    with pytest.raises(StoreError, match="holds a run already") as caught:
        make(tmp_path / "run")
    assert caught.value.hint == f"evo resume {tmp_path / 'run'}"
    with pytest.raises(StoreError, match=r"not empty: it holds 'thesis.tex'"):
        make(tmp_path / "mine")


def test_a_creation_that_was_killed_can_be_repeated(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "new.sqlite").write_bytes(b"half a fi")
    (tmp_path / "run" / "run.lock").write_text("process 1 on x")

    make(tmp_path / "run").close()

    assert len(read_run(tmp_path / "run").candidates) == 0


@pytest.mark.parametrize("name", ["id", "Genome", "rowid", "ON_FRONT"])
def test_names_of_fixed_columns_are_refused(tmp_path, name):
    with pytest.raises(StoreError, match=f"no objective may be called {name!r}"):
        RunFile.create(tmp_path / "run", META, SPACE, [Column(name, "min", "", 1.0, True)])


def test_names_that_differ_by_case_only_are_refused(tmp_path):
    twice = [Column(n, "min", "", 1.0, True) for n in ("loss", "Loss")]

    with pytest.raises(StoreError, match="'loss' and 'Loss' would share one column"):
        RunFile.create(tmp_path / "run", META, SPACE, twice)


def test_a_missing_run_is_explained(tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        read_run(tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        RunFile.open(tmp_path / "none")


def damage_truncate(file):
    file.write_bytes(file.read_bytes()[:5000])


def damage_garbage(file):
    file.write_bytes(b"\x00garbage" * 2000)


def damage_middle(file):
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(bytes(data))


def damage_empty(file):
    file.write_bytes(b"")


def damage_text(file):
    file.write_text("not a database at all, but long enough to have a header " * 9)


def damage_other_application(file):
    file.unlink()
    sqlite3.connect(file).execute("CREATE TABLE t (a)").connection.close()


def damage_missing_table(file):
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE generation")
    connection.close()


def damage_meta(file):
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE meta SET value = '{broken' WHERE key = 'parts'")
    connection.close()


def damage_genome(file):
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE candidate SET genome = x'00' WHERE id = 2")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_garbage, damage_middle, damage_empty, damage_text,
     damage_other_application, damage_missing_table, damage_meta, damage_genome],
)  # fmt: skip
def test_damaged_files_are_reported_as_such(tmp_path, damage):
    file = make(tmp_path / "run")
    fill(file, 40)
    file.close()

    damage(tmp_path / "run" / FILE)

    with pytest.raises(StoreError, match="damaged"):
        read_run(tmp_path / "run")


def test_a_newer_format_is_refused_by_readers_and_writers(tmp_path):
    make(tmp_path / "run").close()
    with sqlite3.connect(tmp_path / "run" / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    for access in (read_run, RunFile.open):
        with pytest.raises(StoreError, match="has format 99; this version of evo reads up to"):
            access(tmp_path / "run")


def test_migrations_are_applied_once_and_in_order(tmp_path, monkeypatch):
    make(tmp_path / "run").close()
    more = "ALTER TABLE event ADD COLUMN level INTEGER NOT NULL DEFAULT 3;"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, more))

    for _ in range(2):  # a second time it must not be added again
        RunFile.open(tmp_path / "run").close()

    connection = sqlite3.connect(tmp_path / "run" / FILE)
    connection.execute("INSERT INTO event (at, kind, text) VALUES (0, 'a', 'b')")
    assert connection.execute("SELECT level FROM event").fetchall() == [(3,)]
    assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
    connection.close()


def test_commits_are_durable_and_tables_strict(tmp_path):
    file = make(tmp_path / "run")

    pragma = {
        name: file._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    file.close()

    assert pragma == {"journal_mode": "wal", "synchronous": 2}
    connection = sqlite3.connect(tmp_path / "run" / FILE)
    kinds = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
    assert {n: s for n, s in kinds if not n.startswith("sqlite_")}.items() >= {
        "meta": 1, "objective": 1, "generation": 1, "candidate": 1, "judged": 1, "event": 1,
    }.items()  # fmt: skip
    connection.close()


def test_what_was_asked_is_known_by_its_keys_and_whole_where_wanted(tmp_path):
    file = make(tmp_path / "run")
    genomes = SPACE.sample(3, stream(0, "asked"))

    file.begin("search", 0, genomes, "all")
    file.begin("baseline:own", 0, genomes.take([1]), "all", whole=True)
    file.close()
    again = RunFile.open(tmp_path / "run")

    assert again.asked("search", 0) == genomes.keys()
    assert again.asked_whole("search", 0) is None
    assert again.asked("search", 1) is None
    whole = again.asked_whole("baseline:own", 0)
    assert whole is not None
    assert whole.rows() == genomes.take([1]).rows()
    again.close()


def test_a_file_of_format_3_tells_what_was_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
    file = make(tmp_path / "run")
    genomes = SPACE.sample(3, stream(0, "asked"))
    file._connection.execute(
        "INSERT INTO generation VALUES ('search', 0, 1.0, 0.0, 0, 0, NULL, 'all', 0, ?)",
        (b"".join(file.layout.pack(genomes)),),
    )
    file.close()
    monkeypatch.undo()

    again = RunFile.open(tmp_path / "run")

    assert again.asked("search", 0) == genomes.keys()
    again.close()


def test_only_what_is_judged_waits_for_the_disk_and_once_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("evo.store.time.monotonic", lambda: now[0])
    file = make(tmp_path / "run")
    modes = []
    file._connection.set_trace_callback(
        lambda sql: modes.append(sql.split()[-1]) if "synchronous" in sql else None
    )

    fill(file)
    file.complete("search", 0, asked=8, hypervolume=0.5, seconds=0.0, violation={})
    now[0] += 0.9
    fill(file, number=1)
    now[0] += 0.2
    fill(file, number=2)
    file.set_meta(status="finished")

    first, hasty, late = ["NORMAL", "FULL", "NORMAL"], ["NORMAL"] * 3, ["NORMAL", "FULL", "NORMAL"]
    assert modes == [*first, "NORMAL", *hasty, *late, "FULL"]
    file.close()


def test_generations_are_told_as_they_are_in_the_file(tmp_path):
    file = make(tmp_path / "run")
    fill(file)
    file.complete("search", 0, asked=9, hypervolume=0.5, seconds=0.25, violation={})
    fill(file, number=1)
    told = file.generations("search")
    file.close()

    assert told == read_run(tmp_path / "run").generations
    assert [g.complete for g in told] == [True, False]
    assert told[0].seconds == 3.25


def test_violations_may_come_with_their_candidates(tmp_path):
    file = make(tmp_path / "run")
    genomes = SPACE.sample(4, stream(0, "violations"))
    file.begin("search", 0, genomes, "all")
    file.append(
        "search", 0, np.arange(4), genomes, results(4), violation=np.array([0.0, 0.5, 2.0, 9.0])
    )
    file.close()

    found = read_run(tmp_path / "run").candidates.violation
    assert np.array_equal(found, [0.0, 0.5, 2.0, np.nan], equal_nan=True)  # the last one failed


def test_results_can_be_read_without_genomes(tmp_path):
    file = make(tmp_path / "run")
    fill(file)
    file.close()

    plain, without = read_run(tmp_path / "run"), read_run(tmp_path / "run", genomes=False)

    assert len(without.candidates.genomes) == 0
    assert without.candidates.id.tolist() == plain.candidates.id.tolist()
    assert np.array_equal(without.candidates.values, plain.candidates.values, equal_nan=True)


def test_a_full_database_stops_with_a_sentence_and_stays_readable(tmp_path):
    file = make(tmp_path / "run")
    fill(file, 8, 0)
    (pages,) = file._connection.execute("PRAGMA page_count").fetchone()
    file._connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    with pytest.raises(StoreError, match=r"cannot be written: .*full.* is kept") as caught:
        fill_until_it_breaks(file)

    assert "evo resume" in (caught.value.hint or "")
    file.close()
    view = read_run(tmp_path / "run")
    assert len(view.candidates) >= 8
    assert view.generations[0].evaluated == 8


def test_a_real_file_size_limit_stops_with_a_sentence_and_stays_readable(tmp_path):
    code = f"""
    import resource, sys
    sys.path.insert(0, {os.path.dirname(__file__)!r})
    from test_store import *
    file = make({str(tmp_path / "run")!r})
    fill(file, 8, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    try:
        for number in range(1, 100):
            fill(file, 40, number)
    except StoreError as error:
        print("StoreError:", error)
    file.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )

    assert "StoreError: run" in done.stdout, done.stderr
    assert "everything recorded so far is kept" in done.stdout
    view = read_run(tmp_path / "run")
    assert view.candidates.values[:3].tolist() == results(8, 0).values[:3].tolist()
    file = RunFile.open(tmp_path / "run")  # with space again, writing goes on
    file.event("after", "more space")
    file.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_creating_is_a_sentence(tmp_path, monkeypatch, number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)

    with pytest.raises(StoreError, match="cannot be written"):
        make(tmp_path / "run")


def test_default_folders_carry_date_problem_and_seed_and_never_collide(tmp_path, monkeypatch):
    monkeypatch.setenv("EVO_RUNS", str(tmp_path / "all"))

    first, second = default_folder("prune/mixed", 3), default_folder("prune/mixed", 3)

    assert first.parent == tmp_path / "all"
    assert first.name.endswith("-prune-mixed-s3")
    assert first.name[:4].isdigit()
    assert second.name == first.name + "-2"


def test_genomes_kept_under_a_name_come_back(tmp_path):
    genomes = SPACE.sample(3, stream(5))
    file = RunFile.create(tmp_path / "run", META, SPACE, COLUMNS, starts=genomes)

    kept = file.get("starts")

    assert kept is not None
    assert kept.rows() == genomes.rows()
    assert file.get("nothing") is None
    file.close()


def test_the_knee_is_looked_for_where_candidates_are_usable():
    columns = (Column("drift", "min", "", 0.0, True), Column("params", "min", "", 0.0, True))
    values = np.array([[0.0, 9.0], [0.2, 6.0], [0.3, 4.0], [0.9, 0.0]])

    assert usable_knee({}, columns, values, values) == 2
    assert usable_knee({"usable": ["drift < 0.3"]}, columns, values, values) == 0  # of two, a tie
    assert usable_knee({"usable": ["drift <= 0.3", "x > 1"]}, columns, values, values) == 1
    assert usable_knee({"usable": ["drift < 0"]}, columns, values, values) == 2  # none: all
    assert usable_knee({}, columns, values[:0], values[:0]) is None
