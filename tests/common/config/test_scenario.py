"""A scenario is read strictly: what is wrong is named with its key, its value and the hint, in one line."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from silogan.common.config.scenario import Adaptive, Scenario, load_scenario, parse_data, parse_scenario
from silogan.common.errors import ConfigError
from silogan.common.modality import KINDS
from silogan.common.modality.image_options import Article, Digits, Mnist
from silogan.common.section import Section

SCENARIOS = Path(__file__).resolve().parents[3] / "simulations" / "scenarios"


def sections() -> dict[str, type[BaseModel]]:
    """All sections of a scenario by their key, the scenario itself under the empty key."""
    found: dict[str, type[BaseModel]] = {"": Scenario, "training.d_steps_per_g_step": Adaptive}
    for name, field in Scenario.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found[name] = field.annotation
    return found


def nested(key: str, value: object) -> dict[str, Any]:
    """The scenario 'x' with one value under a dotted key."""
    values: dict[str, Any] = {"name": "x"}
    section = values
    *parents, leaf = key.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[leaf] = value
    return values


def fault(values: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_scenario(values)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def load(tmp_path: Path, text: str | bytes, *overrides: str) -> Scenario:
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_scenario(path, list(overrides))


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_loads(path: Path) -> None:
    assert load_scenario(path).name


def test_there_are_shipped_scenarios() -> None:
    assert (SCENARIOS / "digits.yaml").is_file()


def test_a_name_is_all_that_is_needed() -> None:
    scenario = parse_scenario({"name": "x"})
    assert scenario.privacy.enabled
    assert scenario.seed is None


def test_a_plain_copy_of_a_scenario_reads_back_equal(tmp_path: Path) -> None:
    scenario = load(tmp_path, "name: x\ndata: {root: some/where}\ntraining: {d_steps_per_g_step: {threshold: 0.7}}")
    assert parse_scenario(scenario.model_dump(mode="json")) == scenario


@pytest.mark.parametrize("section", sections())
def test_an_unknown_key_is_answered_with_the_nearest_at_every_level(section: str) -> None:
    for field in sections()[section].model_fields:
        key = f"{section}.{field}" if section else field
        error = fault(nested(key + "x", 1))
        assert error.thing == key + "x"
        assert error.problem == "unknown key"
        assert error.hint == f"did you mean '{key}'?"


@pytest.mark.parametrize("key", ["qqq", "training.qqq", "training.d_steps_per_g_step.qqq"])
def test_an_unknown_key_like_no_other_is_to_be_removed(key: str) -> None:
    assert str(fault(nested(key, 1))) == f"{key}: unknown key; remove it"


@pytest.mark.parametrize("engine", ["bookkeeping", "ghost", "hooks"])
def test_no_study_chooses_how_gradients_are_clipped(engine: str) -> None:
    error = fault(nested("training.dp_engine", engine))
    assert (error.thing, error.problem) == ("training.dp_engine", "unknown key")


@pytest.mark.parametrize("key", ["int", "Adaptive", "constrained-int"])
def test_a_key_that_is_also_the_name_of_a_type_is_a_key(key: str) -> None:
    assert str(fault({"name": "x", key: 1})).startswith(f"{key}: unknown key; ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 5),
        ("name", "Capital"),
        ("name", "../up"),
        ("name", ""),
        ("seed", -1),
        ("seed", 2**63),
        ("data.image_size", 7),
        ("data.channels", 2),
        ("data.test_fraction", 1.0),
        ("data.images_per_patient", 0),
        ("sites.count", 0),
        ("sites.count", 2.5),
        ("sites.count", "four"),
        ("sites.alpha", 0),
        ("sites.size_ratio", float("inf")),
        ("training.rounds", float("nan")),
        ("training.rounds", [1]),
        ("training.sample_rate", 1.01),
        ("training.sample_rate", 0),
        ("training.sample_rate", float("nan")),
        ("training.lr_generator", float("inf")),
        ("training.weight_clip", -0.01),
        ("training.d_steps_per_g_step", 0),
        ("training.d_steps_per_g_step", "often"),
        ("training.d_steps_per_g_step.threshold", 0.5),
        ("training.d_steps_per_g_step.ema", float("nan")),
        ("privacy.epsilon", 0),
        ("privacy.epsilon", float("inf")),
        ("privacy.epsilon", float("nan")),
        ("privacy.epsilon", "much"),
        ("privacy.delta", 0),
        ("privacy.delta", 1),
        ("privacy.delta", float("nan")),
        ("privacy.clip_norm", float("nan")),
        ("privacy.noise_multiplier", 0),
        ("privacy.spare_rounds", -1),
        ("privacy.unit", "person"),
        ("privacy.records_per_patient", 0),
        ("federation.quorum", 0),
        ("federation.weights", "exact_size"),
        ("federation.max_update_norm", float("inf")),
        ("federation.ema_decay", 1),
        ("federation.join_timeout", float("nan")),
        ("evaluation.samples", 0),
    ],
)
def test_a_bad_value_is_refused_with_key_and_value(key: str, value: object) -> None:
    error = fault(nested(key, value))
    assert error.thing == key
    assert repr(value) in error.problem
    assert error.hint == "correct the value"


@pytest.mark.parametrize(
    ("key", "values", "position"),
    [
        ("data.classes", ["a", 1], 1),
        ("training.betas", [0.5, 1.0], 1),
        ("training.betas", [float("nan"), 0.5], 0),
        ("training.d_steps_per_g_step.ladder", [1, 2, 0], 2),
    ],
)
def test_a_bad_value_in_a_list_is_named_by_its_position(key: str, values: list[object], position: int) -> None:
    error = fault(nested(key, values))
    assert error.thing == f"{key}.{position}"
    assert repr(values[position]) in error.problem


def test_a_missing_name_is_asked_for() -> None:
    assert str(fault({})) == "name: is missing; add it to the scenario"


@pytest.mark.parametrize("value", [None, 5, [1, 2], "all"])
def test_a_section_that_is_none_is_refused(value: object) -> None:
    error = fault({"name": "x", "privacy": value})
    assert error.thing == "privacy"
    assert repr(value) in error.problem


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"data": {"source": "folder", "patients": "p.csv", "images_per_patient": 2}},
            "images_per_patient=2 contradicts patients=p.csv",
        ),
        ({"privacy": {"unit": "record", "records_per_patient": 2}}, "records_per_patient=2 needs unit=patient"),
    ],
)
def test_what_is_said_of_patients_must_fit_together(values: dict[str, Any], words: str) -> None:
    assert words in str(fault({"name": "x", **values}))


def test_a_quorum_that_cannot_be_reached_names_both_keys() -> None:
    error = fault({"name": "x", "sites": {"count": 2}, "federation": {"quorum": 3}})
    assert "federation.quorum=3 exceeds sites.count=2" in str(error)


@pytest.mark.parametrize(("count", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_the_quorum_is_more_than_half_unless_given(count: int, quorum: int) -> None:
    assert parse_scenario({"name": "x", "sites": {"count": count}}).quorum == quorum
    assert parse_scenario({"name": "x", "sites": {"count": count}, "federation": {"quorum": 1}}).quorum == 1


def test_every_number_refuses_nan() -> None:
    """No field is forgotten: a NaN passes comparisons that were meant to keep it out."""
    for section, model in sections().items():
        for name, field in model.model_fields.items():
            if float in (field.annotation, *get_args(field.annotation)):
                key = f"{section}.{name}" if section else name
                assert fault(nested(key, float("nan"))).thing == key


def test_a_scenario_cannot_be_changed() -> None:
    scenario = parse_scenario({"name": "x"})
    with pytest.raises(ValueError, match="frozen"):
        scenario.privacy.epsilon = 100.0


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("training.rounds=5", "training.rounds", 5),
        ("privacy.delta=1e-4", "privacy.delta", 1e-4),
        ("privacy.delta=1.0e-4", "privacy.delta", 1e-4),
        ("privacy.enabled=false", "privacy.enabled", False),
        ("data.classes=[a, 'b=c']", "data.classes", ("a", "b=c")),
        ("training.betas=[0.1, 0.2]", "training.betas", (0.1, 0.2)),
        ("training.d_steps_per_g_step=7", "training.d_steps_per_g_step", 7),
        ("training.d_steps_per_g_step={threshold: 0.7}", "training.d_steps_per_g_step", Adaptive(threshold=0.7)),
        ("training.d_steps_per_g_step.patience=3", "training.d_steps_per_g_step", Adaptive(patience=3)),
        ("title=a=b", "title", "a=b"),
        ("seed=null", "seed", None),
        ("seed=", "seed", None),
    ],
)
def test_overrides_reach_their_key(tmp_path: Path, override: str, key: str, expected: object) -> None:
    value: object = load(tmp_path, "name: x\nseed: 9\ntraining: {local_steps: 3}", override)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == expected


def test_later_overrides_win_and_others_are_kept(tmp_path: Path) -> None:
    scenario = load(
        tmp_path, "name: x\ntraining: {rounds: 1, local_steps: 3}", "training.rounds=2", "training.rounds=4"
    )
    assert (scenario.training.rounds, scenario.training.local_steps) == (4, 3)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.rounds", "--set training.rounds: is not key=value"),
        ("=5", "is not key=value"),
        ("training.rounds=[1", "--set training.rounds: value '[1' cannot be read"),
        ("seed=2024-13-45", "--set seed: value '2024-13-45' cannot be read"),
        ("title.x=5", "--set title.x: 'title' is a value, not a section"),
        ("training=5", "training: is a section of keys, not 5; set one of them, as training.KEY"),
        ("training.ronds=3", "did you mean 'training.rounds'?"),
        ("training..rounds=3", "training.: unknown key"),
        ("traning.rounds=3", "traning: unknown key; did you mean 'training'?"),
        ("training.rounds=", "training.rounds: input should be a valid integer, not None"),
        ("privacy.epsilon=-1", "privacy.epsilon: input should be greater than 0, not -1"),
    ],
)
def test_bad_overrides_are_refused(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name: x\ntitle: t", override)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not a set of keys"),
        (b"- name: x\n", "is not a set of keys"),
        (b"just words", "is not a set of keys"),
        (b"name: [x", "is not valid YAML at line"),
        (b"name: x\n\tseed: 1", "is not valid YAML at line 2"),
        (b"name: x\nseed: 2024-13-45", "is not valid YAML"),
        (b"seed: !!int abc", "is not valid YAML"),
        (b"seed: !!timestamp soon", "is not valid YAML"),
        (b"name: !!python/object/apply:os.getcwd []", "is not valid YAML at line 1"),
        (b"[" * 5000, "is nested deeper than 20"),
        (b"\x00\x01\x02", "is not valid YAML"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read (not UTF-8 text)"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_by_name(tmp_path: Path, text: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert "study.yaml" in caught.value.thing
    assert words in caught.value.problem
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml'?: cannot be read \(No such file"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_scenario(tmp_path)


@pytest.mark.parametrize(
    ("federation", "words"),
    [
        ({"byzantine": -1}, "federation.byzantine"),
        ({"min_cosine": 1.5}, "federation.min_cosine"),
        ({"min_cosine": float("nan")}, "federation.min_cosine"),
        ({"quarantine_after": 0}, "federation.quarantine_after"),
    ],
)
def test_a_federation_that_cannot_be_is_refused(federation: dict[str, Any], words: str) -> None:
    assert words in str(fault({"name": "x", "federation": federation}))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("privacy.enabled='no'", "privacy.enabled: input should be a valid boolean, not 'no'"),
        ("privacy.enabled=0", "privacy.enabled: input should be a valid boolean, not 0"),
        ("training.rounds=2.0", "training.rounds: input should be a valid integer, not 2.0"),
        ("training.rounds=true", "training.rounds: input should be a valid integer, not True"),
        ("training.rounds='5'", "training.rounds: input should be a valid integer, not '5'"),
        ("training.rounds=1000000000", "training.rounds: input should be less than or equal to 200000"),
        ("training.sample_rate=1.0e-9", "training.sample_rate: input should be greater than or equal to 0.000001"),
        ("privacy.epsilon='8'", "privacy.epsilon: input should be a valid number, not '8'"),
        ("privacy.epsilon=true", "privacy.epsilon: input should be a valid number, not True"),
        ("privacy.epsilon=1.0e+300", "privacy.epsilon: input should be less than or equal to 10000"),
        ("privacy.noise_multiplier=.inf", "privacy.noise_multiplier: input should be"),
        ("privacy.noise_multiplier=.nan", "privacy.noise_multiplier: input should be"),
        ("model.width=1000000", "model.width: input should be less than or equal to 1024"),
        ("data.image_size=100000", "data.image_size: input should be less than or equal to 256"),
        (
            "privacy.records_per_patient=100000",
            "privacy.records_per_patient: input should be less than or equal to 128",
        ),
        ("training.betas=[0, '1']", "training.betas.1: input should be a valid number"),
        ('title="\\e[2J"', "title: has characters that cannot be printed"),
        (f"title={'x' * 500}", "title: string should have at most 200 characters, not 'xxx"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_named(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name: x", override)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_steps_are_bounded_as_a_whole(tmp_path: Path) -> None:
    overrides = ("training.rounds=200000", "training.local_steps=50")
    assert load(tmp_path, "name: x", *overrides).training.rounds == 200_000
    with pytest.raises(ConfigError, match=r"200001 rounds of training.local_steps=50 are more than 10000000 steps"):
        load(tmp_path, "name: x", *overrides, "privacy.spare_rounds=1")


def test_whole_numbers_stand_for_numbers_and_lists_for_tuples(tmp_path: Path) -> None:
    found = load(
        tmp_path, "name: x", "privacy.epsilon=8", "training.betas=[0, 0.9]", "privacy.delta=1e-5", "data.root=a/b"
    )
    assert (found.privacy.epsilon, found.training.betas, found.privacy.delta) == (8.0, (0.0, 0.9), 1e-5)
    assert found.data.root == Path("a/b")


# --- sections that are one of several ---------------------------------------------------------------------------------


def test_options_are_those_of_the_source_and_of_the_family() -> None:
    found = parse_scenario({"name": "x", "data": {"source": "mnist", "download": True}, "model": {"family": "article"}})
    assert found.data == Mnist(download=True)
    assert found.model == Article()
    assert parse_scenario(found.model_dump(mode="json")) == found


@pytest.mark.parametrize("kind", KINDS)
def test_every_tag_is_the_one_that_its_options_have(kind: str) -> None:
    for name, options in KINDS[kind].sources.items():
        assert parse_scenario({"name": "x", "data": {"source": name}}).data == options(source=name)
        assert options.model_fields["source"].default == name
    for name, options in KINDS[kind].families.items():
        assert options.model_fields["family"].default == name


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"data": {"source": "mnsit"}}, "data.source: unknown value 'mnsit'; did you mean 'mnist'?"),
        ({"data": {"source": 3}}, "data.source: input should be 'digits', not 3; correct the value"),
        ({"data": {"patients": "p.csv"}}, "data.patients: does not fit source 'digits'; remove it"),
        ({"data": {"source": "mnist", "download": "perhaps"}}, "data.download: input should be a valid boolean, not"),
        ({"data": {"source": "mnist", "downlaod": True}}, "unknown key; did you mean 'data.download'?"),
        ({"data": {"source": "mnist", "patient": "p.csv"}}, "data.patient: unknown key; "),
        ({"data": []}, "data: is a section of keys, not []"),
        ({"model": {"family": "gan"}}, "model.family: unknown value 'gan'; did you mean 'dcgan'?"),
        ({"model": {"widht": 1}}, "model.widht: unknown key; did you mean 'model.width'?"),
    ],
)
def test_fault_of_such_a_section_is_one_line(section: dict[str, Any], message: str) -> None:
    assert message in str(fault({"name": "x", **section}))


def test_key_of_another_source_may_stand_at_its_default() -> None:
    """As in the registers and run folders of older versions, which held every key of every source."""
    older = {"source": "digits", "root": None, "dataset": None, "download": False, "patients": None}
    assert parse_data(older) == Digits()


def test_every_option_is_in_the_schema_of_a_scenario() -> None:
    """Which is what the page of all keys is written from."""
    found = Scenario.model_json_schema()["$defs"]
    for kind in KINDS.values():
        for name, options in [*kind.sources.items(), *kind.families.items()]:
            keys = found[options.__name__]["properties"]
            assert keys.keys() == options.model_fields.keys()
            assert name in {keys.get(tag, {}).get("const") for tag in ("source", "family")}
