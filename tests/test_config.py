import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo import registry
from evo.cli import main
from evo.config import (
    AlgorithmConfig,
    EvaluatorConfig,
    ProblemConfig,
    Ref,
    RunConfig,
    StopConfig,
    differences,
    load_config,
    read_toml,
)
from evo.errors import ConfigError, RegistryError
from evo.limits import parse_limit
from evo.problem import Objective

NAMES = st.from_regex(r"[a-z][a-z_/-]{0,8}:?[a-z]{1,3}", fullmatch=True)
KEYS = st.from_regex(r"k_[a-z]{1,6}", fullmatch=True)
LEAVES = (
    st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
SETTINGS = st.dictionaries(KEYS, LEAVES | st.lists(LEAVES, max_size=3), max_size=3)
REFS = st.builds(Ref, NAMES, SETTINGS)
POSITIVE = st.none() | st.integers(1, 10**6)
CONFIGS = st.builds(
    RunConfig,
    problem=st.builds(ProblemConfig, st.none() | NAMES, SETTINGS),
    objectives=st.lists(REFS, max_size=3).map(tuple),
    metrics=st.lists(REFS, max_size=2).map(tuple),
    constraints=st.lists(st.sampled_from(["a < 3", "b >= 2.5k", "c<=1e6"]), max_size=2).map(tuple),
    seed=st.integers(0, 2**31),
    starts=st.booleans(),
    baseline=st.booleans(),
    validate=st.booleans(),
    algorithm=st.builds(AlgorithmConfig, NAMES, st.integers(2, 1000), SETTINGS),
    stop=st.builds(StopConfig, POSITIVE, POSITIVE, st.none() | st.floats(0.1, 1e6), POSITIVE),
    evaluator=st.builds(EvaluatorConfig, NAMES, st.just("auto") | st.integers(1, 99)),
)


@given(CONFIGS)
@settings(max_examples=50, deadline=None)
def test_toml_and_json_bring_back_the_same_configuration(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("c") / "run.toml"
    path.write_text(config.to_toml(), encoding="utf-8")

    assert load_config(path) == config
    assert RunConfig.from_mapping(json.loads(config.to_json())) == config
    assert load_config(path).fingerprint() == config.fingerprint()


@given(CONFIGS, st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_fingerprint_tells_seeds_apart(config, seed):
    other = config.override("seed", str(seed))

    assert (other.fingerprint() == config.fingerprint()) == (config.seed == seed)


def test_the_documented_file_is_read(tmp_path):
    path = tmp_path / "minilm.toml"
    path.write_text(
        'objectives = ["drift", "params", { id = "latency", batch = 8 }]\n'
        'metrics = ["macs"]\nseed = 0\n'
        '[problem]\nid = "prune/mixed"\nmodel = "x/y"\nvariants = ["removal", "width"]\n'
        '[algorithm]\nid = "nsga3"\npopulation = 50\nmutation = "my:Nudge"\n'
        "[stop]\ngenerations = 40\nminutes = 10\n[evaluator]\nchunk = 16\n"
    )

    config = load_config(path)

    assert config.objectives[2] == Ref("latency", {"batch": 8})
    assert config.problem == ProblemConfig(
        "prune/mixed", {"model": "x/y", "variants": ["removal", "width"]}
    )
    assert config.algorithm == AlgorithmConfig("nsga3", 50, {"mutation": "my:Nudge"})
    assert config.stop == StopConfig(generations=40, minutes=10.0)
    assert config.evaluator == EvaluatorConfig("auto", 16)


def test_forty_generations_are_the_default_only_when_nothing_else_limits():
    assert RunConfig().stop.generations == 40
    assert RunConfig().override("stop.evaluations", "500").stop == StopConfig(evaluations=500)
    assert RunConfig().override("stop.generations", "7").stop == StopConfig(generations=7)


@pytest.mark.parametrize(
    ("path", "text", "read"),
    [
        ("seed", "3", lambda c: c.seed == 3),
        ("baseline", "true", lambda c: c.baseline),
        ("problem", "synthetic/zdt1", lambda c: c.problem.id == "synthetic/zdt1"),
        ("problem.model", "a/b", lambda c: c.problem.settings == {"model": "a/b"}),
        ("problem.model", '"3"', lambda c: c.problem.settings == {"model": "3"}),
        ("objectives", "drift", lambda c: c.objectives == (Ref("drift"),)),
        ("objectives", '["a", {id="b", k=1}]', lambda c: c.objectives[1] == Ref("b", {"k": 1})),
        ("algorithm", "nsga3", lambda c: c.algorithm == AlgorithmConfig("nsga3", 100)),
        ("algorithm.mutation", "m:N", lambda c: c.algorithm.settings == {"mutation": "m:N"}),
        ("algorithm.a.b", "0.5", lambda c: c.algorithm.settings == {"a": {"b": 0.5}}),
        ("constraints", "params < 12M", lambda c: c.constraints == ("params < 12M",)),
        ("evaluator.chunk", "auto", lambda c: c.evaluator.chunk == "auto"),
    ],
)  # fmt: skip
def test_override_reads_toml_values_and_bare_words(path, text, read):
    assert read(RunConfig().override(path, text))


def test_override_of_none_removes_a_setting():
    config = RunConfig().override("problem.model", "x").override("problem.model", "none")

    assert config == RunConfig()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sed": 1}, "no setting called 'sed'; did you mean 'seed'"),
        ({"stop": {"generation": 1}}, r"\[stop\] has no setting called 'generation'; did you mean"),
        ({"evaluator": {"device": ""}}, "evaluator.device"),
        ({"evaluator": {"chunk": 0}}, "evaluator.chunk must be 'auto' or a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": True}, "seed must be"),
        ({"seed": 1.0}, "seed must be"),
        ({"baseline": "yes"}, "baseline must be true or false"),
        ({"objectives": "drift"}, "objectives must be a list"),
        ({"objectives": [3]}, "an entry of objectives needs a name"),
        ({"objectives": [{"batch": 3}]}, "an entry of objectives needs a name"),
        ({"constraints": [3]}, "must be text"),
        ({"problem": 3}, "problem must be a table"),
        ({"problem": {"id": 3}}, "problem.id must be a name"),
        ({"stop": {"minutes": 0}}, "stop.minutes must be a number above 0"),
        ({"stop": {"minutes": float("nan")}}, "stop.minutes must be a number above 0"),
        ({"stop": {"generations": 0}}, "stop.generations must be"),
        ({"algorithm": {"population": 1}}, "'nsga2' needs a population of at least 2, got 1"),
        ({"algorithm": {"population": "many"}}, "algorithm.population must be"),
        ({"constraints": ["params < 2", "params > 3"]}, "contradict each other"),
    ],
)
def test_illegal_settings_are_named(data, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_mapping(data)


@pytest.mark.parametrize("name", ["random", "evopress"])
def test_a_population_of_one_is_enough_for_some_algorithms(name):
    assert AlgorithmConfig(name, 1).population == 1


def test_an_override_that_leads_nowhere_is_refused():
    with pytest.raises(ConfigError, match="no setting called 'algoritm'"):
        RunConfig().override("algoritm.population", "5")
    with pytest.raises(ConfigError, match="'seed' is not a table"):
        RunConfig().override("seed.a", "5")


def test_unreadable_files_are_explained(tmp_path):
    (tmp_path / "bad.toml").write_text("seed = = 1")
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")

    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path / "latin.toml")


def test_differences_name_keys_and_both_values():
    old, new = RunConfig(), RunConfig().override("algorithm.population", "50")

    assert differences(old, new) == ["algorithm.population was 100, is 50"]
    assert differences(old, old) == []


@pytest.mark.parametrize(
    ("text", "name", "sign", "value"),
    [
        ("params < 12e6", "params", "<", 12e6),
        ("params<=12M", "params", "<=", 12e6),
        ("  loss >= -0.5 ", "loss", ">=", -0.5),
        ("macs > 1.5 G", "macs", ">", 1.5e9),
        ("x < .5k", "x", "<", 500.0),
    ],
)
def test_limits_are_read(text, name, sign, value):
    limit = parse_limit(text)

    assert (limit.name, limit.sign, limit.value) == (name, sign, value)


@pytest.mark.parametrize(
    "text",
    ["", "params", "params <", "params = 3", "params < x", "3 < params", "a < 3 < b", "a < 1T",
     "a < nan", "a < 1e999", "a <> 3", "__import__('os') < 3"],
)  # fmt: skip
def test_limits_in_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match=r"cannot read the constraint|too large"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("texts", "fine"),
    [
        (["a >= 3", "a <= 3"], True),
        (["a > 3", "a <= 3"], False),
        (["a >= 3", "a < 3"], False),
        (["a > 3", "b < 3"], True),
        (["a < 9", "a > 1", "a < 1"], False),
    ],
)
def test_only_empty_intervals_contradict(texts, fine):
    if fine:
        assert RunConfig(constraints=tuple(texts)).constraints == tuple(texts)
    else:
        with pytest.raises(ConfigError, match="contradict"):
            RunConfig(constraints=tuple(texts))


def test_ids_are_listed_and_resolved():
    assert "synthetic/zdt1" in [e.ref for e in registry.listing("problem")]
    entry = registry.resolve("problem", "synthetic/zdt1")
    assert entry.target == "problems.synthetic:ZDT"
    assert entry.settings == {"number": 1}
    assert "nsga2" in [e.ref for e in registry.listing("algorithm")]


@pytest.mark.parametrize(
    ("kind", "ref", "message"),
    [
        ("problem", "prune/mixd", "no problem called 'prune/mixd'; did you mean 'prune/mixed'"),
        ("problm", "x", "no kind 'problm'"),
        ("problem", "no_such_module:X", "no module called 'no_such_module'"),
        ("problem", "problems.synthetic:ZTD", "has no 'ZTD'; did you mean 'ZDT'"),
        ("problem", "problems.synthetic:", "of the form module:attr"),
    ],
)
def test_references_that_lead_nowhere_are_explained(kind, ref, message):
    with pytest.raises(RegistryError, match=message):
        registry.load(kind, ref)


def test_a_module_in_the_current_folder_is_found_last(tmp_path, monkeypatch):
    (tmp_path / "my_own_things.py").write_text("answer = 42\n")
    (tmp_path / "json.py").write_text("answer = 'hidden'\n")
    (tmp_path / "broken_things.py").write_text("def (\n")
    (tmp_path / "needy_things.py").write_text("import surely_not_installed.deep\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in __import__("sys").path if p])

    assert registry.load("objective", "my_own_things:answer") == 42
    assert registry.load("objective", "json:dumps")([1]) == "[1]"
    with pytest.raises(RegistryError, match="cannot be imported"):
        registry.load("objective", "broken_things:x")
    with pytest.raises(RegistryError, match="needs the package 'surely_not_installed"):
        registry.load("objective", "needy_things:x")


class FakePoint:
    """Stands in for an entry point of some package."""

    name, group, dist = "fake", registry.GROUP, None

    def __init__(self, catalogue, value="fake:CATALOGUE"):
        self.catalogue, self.value, self.module = catalogue, value, value.split(":")[0]

    def load(self):
        if isinstance(self.catalogue, Exception):
            raise self.catalogue
        return self.catalogue


@pytest.fixture
def plugins(monkeypatch):
    def use(*points):
        monkeypatch.setattr(registry, "entry_points", lambda group: list(points))
        registry._table.cache_clear()

    yield use
    registry._table.cache_clear()


def test_plugins_bring_rows_with_settings(plugins):
    plugins(FakePoint({"problem": {"mine/thing": ("a.b:C", {"k": 1}), "mine/other": "a.b:D"}}))

    rows = {e.ref: e for e in registry.listing("problem")}

    assert rows["mine/thing"].target == "a.b:C"
    assert rows["mine/thing"].settings == {"k": 1}
    assert sorted(rows) == ["mine/other", "mine/thing"]


@pytest.mark.parametrize(("size", "good"), [(0, False), (2, True)])
def test_an_algorithm_is_checked_with_the_settings_of_its_row(plugins, capsys, size, good):
    row = ("evo.algorithms.moeim:MOEIM", {"tournament": size})
    plugins(FakePoint({"algorithm": {"tuned": row}}))

    main(["check", "tuned", "--kind", "algorithm", "--json"])

    out = capsys.readouterr().out
    assert ("tournament must be at least 1, got 0" in out) is not good
    assert ("repeats for the same seed" in out) is good


def test_collisions_and_broken_plugins_name_their_owners(plugins):
    one = FakePoint({"problem": {"x": "a:B"}}, "one:CATALOGUE")
    plugins(one, FakePoint({"problem": {"x": "c:D"}}, "two:CATALOGUE"))
    with pytest.raises(RegistryError, match=r"offered by both .*one:CATALOGUE.* and .*two:CAT"):
        registry.listing("problem")

    plugins(FakePoint(AttributeError("no CATALOGUE"), "json:CATALOGUE"))
    with pytest.raises(RegistryError, match=r"module 'json' was found in .*json.*no CATALOGUE"):
        registry.listing("problem")

    plugins(FakePoint({"problm": {"x": "a:B"}}))
    with pytest.raises(RegistryError, match="unknown kind 'problm'"):
        registry.listing("problem")


class Needy:
    """Looks like a problem and wants a setting."""

    def __init__(self, size):
        raise AssertionError("never made without its setting")

    def batch(self, genomes, context):
        raise AssertionError("never asked")


READY = SimpleNamespace(batch=None)


@pytest.mark.parametrize(
    ("problem", "error", "message"),
    [
        ({"id": "synthetic/layers", "layrs": 3}, ConfigError, "no setting called 'layrs'; did you"),
        ({"id": f"{__name__}:Needy"}, ConfigError, "needs the setting 'size'"),
        ({"id": f"{__name__}:READY", "a": 1}, ConfigError, "takes no settings"),
        ({"id": f"{__name__}:READY"}, RegistryError, "is no problem: it lacks space"),
        ({"id": "problems:CATALOGUE"}, RegistryError, "is no problem: it is the dict"),
    ],
)
def test_problems_are_built_with_checked_settings(problem, error, message):
    with pytest.raises(error, match=message):
        registry.build_problem(RunConfig.from_mapping({"problem": problem}))


@pytest.mark.parametrize("kind", ["problem", "objective", "operator"])
def test_a_reference_out_of_a_run_file_never_calls_what_is_not_meant(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = Ref("os:system", {"command": "touch harm"})

    with pytest.raises(RegistryError, match=f"'os:system' is no {kind}"):
        registry.build(kind, command)
    with pytest.raises(RegistryError, match="is no "):
        registry.build(kind, Ref("subprocess:Popen", {"args": ["touch", "harm"]}))

    assert list(tmp_path.iterdir()) == []


def kept(least: int) -> Objective:
    return Objective("kept", "max", lambda b: b.x > least)


@dataclass(frozen=True)
class Nudge:
    size: float = 0.05


def test_factories_of_objectives_and_operators_take_settings():
    made = registry.build("objective", Ref(f"{__name__}:kept", {"least": 3}))

    assert made.fn(SimpleNamespace(x=4)) is True
    assert registry.build("operator", Ref(f"{__name__}:Nudge", {"size": 2.0})) == Nudge(2.0)


def test_settings_of_a_row_can_be_overridden():
    built = registry.build_problem(ProblemConfig("synthetic/zdt1", {"n_variables": 4}))

    assert built.space.length == 4
