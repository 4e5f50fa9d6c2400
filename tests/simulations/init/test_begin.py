"""A scenario is begun for images, archives and tables, and the program accepts what it wrote."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from silogan.client.describe.draft import FIRST_LINE
from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.errors import ConfigError, DataError, UsageError
from silogan.simulations.fuzz.medical import write_dicom, write_nifti
from silogan.simulations.init import questions
from silogan.simulations.init.begin import Begun, Given, begin
from silogan.simulations.init.questions import Questions
from silogan.simulations.planner import outlook

PATIENT = "Nordmann"
DEFAULTS = Questions(take_defaults=True)
ASKING = Questions(take_defaults=False)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draw(folder: Path, count: int = 12, size: tuple[int, int] = (16, 16), mode: str = "L") -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).convert(mode).save(folder / f"{PATIENT}-{number}.png")


def write(path: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def visits(count: int = 60) -> Iterator[Sequence[object]]:
    return ((PATIENT + str(n // 2), n % 2, 20 + n, f"{n / 7:.2f}", "AB"[n % 2]) for n in range(count))


HEADER = ("mrn", "outcome", "age", "crp", "ward")


def begun(path: Path | str, *, asking: Questions = DEFAULTS, **given: object) -> tuple[Scenario, Begun]:
    """What was written, read as the commands read it; it can be planned, and told nobody's name."""
    result = begin(Path(path), Given(**given), asking)  # pyright: ignore[reportArgumentType]
    scenario = load_scenario(result.scenario)
    outlook(scenario, None)
    for file in (result.scenario, result.columns):
        assert file is None or PATIENT not in file.read_text(encoding="utf-8")
    return scenario, result


def test_images_of_hospitals_are_theirs(tmp_path: Path) -> None:
    for place in ("bergen/benign", "bergen/malignant", "oslo/benign", "oslo/malignant"):
        draw(Path("My Scans") / place)
    scenario, result = begun("My Scans")
    assert (scenario.name, scenario.data.classes) == ("my-scans", ("benign", "malignant"))
    assert scenario.data.root == tmp_path / "My Scans"
    assert (scenario.sites.count, scenario.sites.partition) == (2, "natural")
    assert (scenario.model.family, scenario.training.rounds) == ("gaussians", 0)
    assert (result.hospitals, result.natural, result.columns) == (2, True, None)
    text = result.scenario.read_text(encoding="utf-8")
    assert "silogan plan my-scans.yaml" in text
    assert "Each image counts as a patient of its own" in text
    assert yaml.safe_load(text)["data"] | {"root": ""} == {
        "source": "folder",
        "root": "",
        "classes": ["benign", "malignant"],
        "channels": 1,
        "image_size": 16,
    }
    assert list(result.told())[-2:] == ["  silogan plan my-scans.yaml", "  silogan simulate my-scans.yaml"]
    scenario, _ = begun("My Scans", sites=3, out=Path("three.yaml"))
    assert (scenario.sites.count, scenario.sites.partition) == (3, "iid")


def test_a_manifest_names_the_patients(tmp_path: Path) -> None:
    draw(Path("scans/a"))
    draw(Path("scans/b"))
    files = [f"{name}/{PATIENT}-{n}.png" for name in "ab" for n in range(12)]
    write(Path("scans/rows.csv"), ("file", "patient", "age"), ((file, n // 2, 40) for n, file in enumerate(files)))
    scenario, result = begun("scans")
    assert scenario.data.names_patients
    assert scenario.data.places()["patients"] == tmp_path / "scans/rows.csv"
    assert "docs/images-with-rows.md" in result.scenario.read_text(encoding="utf-8")


def test_images_of_other_sizes_and_colours_are_brought_to_one(tmp_path: Path) -> None:
    draw(Path("scans/train/a"), size=(20, 30), mode="RGB")
    draw(Path("scans/train/b"))
    draw(Path("scans/test/a"))
    draw(Path("scans/test/b"))
    scenario, _ = begun("scans", image_size=24, classes="b, a")
    plain = scenario.data.model_dump()
    assert (plain["image_size"], plain["channels"], plain["classes"]) == (24, 1, ("b", "a"))
    scenario, _ = begun("scans", out=tmp_path / "again.yaml")
    assert scenario.data.model_dump()["image_size"] == 64


def test_medical_files_ask_for_what_only_people_can_say(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "ct" / name).mkdir(parents=True)
        (tmp_path / "mr" / name).mkdir(parents=True)
        for number in range(6):
            values = np.random.default_rng(number).integers(0, 4096, (16, 16, 3), dtype=np.int16)
            window = {"WindowCenter": "7", "WindowWidth": "7"}  # of the file, which counts for nothing
            write_dicom(tmp_path / f"ct/{name}/{number}.dcm", values[:, :, 0], f"{PATIENT}{name}{number}", **window)
            write_nifti(tmp_path / "mr" / name / f"{PATIENT}-{number}.nii.gz", values, np.eye(4))
    for place in ("ct", "mr"):
        with pytest.raises(UsageError, match=r"^--window: is missing; give it$"):
            begin(Path(place), Given(), DEFAULTS)
        with pytest.raises(UsageError, match=r"^--window 40: is not two numbers; give CENTRE,WIDTH, as in 40,400$"):
            begin(Path(place), Given(window="40"), DEFAULTS)
        with pytest.raises(ConfigError, match=r"^data\.window\.width: input should be greater"):
            begin(Path(place), Given(window="40,-1"), DEFAULTS)
    scenario, result = begun("ct", window="40,400")
    assert "patients: the Patient ID in each file" in result.scenario.read_text(encoding="utf-8")
    assert result.described == "images of 16x16 pixels, grey, in 2 class folders"
    keys = {"patients", "window", "slices", "fit", "image_size"}
    assert scenario.data.model_dump(include=keys) == {
        "patients": "dicom",
        "window": {"centre": 40, "width": 400},
        "slices": None,
        "fit": None,
        "image_size": 16,
    }
    scenario, result = begun("mr", window="40,400")
    assert result.described == "images in volumes, grey, in 2 class folders"
    assert scenario.data.names_patients
    assert scenario.data.model_dump(include=keys) == {
        "patients": None,
        "window": {"centre": 40, "width": 400},
        "slices": {"axis": "axial", "first": 0, "last": None},
        "fit": "pad",
        "image_size": 64,
    }
    scenario, _ = begun("mr", window="40,400", slices="2", fit="crop", image_size=8, out=Path("again.yaml"))
    assert scenario.data.model_dump(include={"slices", "fit"}) == {
        "slices": {"axis": 2, "first": 0, "last": None},
        "fit": "crop",
    }
    with pytest.raises(ConfigError, match=r"^data\.slices\.axis: input should be 0, 1, 2, 'sagittal'"):
        begin(Path("mr"), Given(window="40,400", slices="saggital", out=Path("typo.yaml")), DEFAULTS)
    with pytest.raises(UsageError, match=r"^--slices: does not fit images of 16x16 pixels.*slices are of volumes"):
        begin(Path("ct"), Given(window="40,400", slices="axial", out=Path("typo.yaml")), DEFAULTS)


def test_folders_of_patients_are_not_taken_for_classes() -> None:
    for name in ("Nordmann", "Larsen"):
        draw(Path("scans/benign") / name, 1)
    with pytest.raises(DataError, match="no class in two hospitals") as refused:
        begin(Path("scans"), Given(), DEFAULTS)
    assert "Larsen" not in str(refused.value)
    for number in range(21):
        draw(Path("flat") / f"{PATIENT}-{number}", 1)
    with pytest.raises(UsageError, match="--classes: is missing; give the names of the class folders") as refused:
        begin(Path("flat"), Given(), DEFAULTS)
    assert PATIENT not in str(refused.value)
    assert not list(Path().glob("*.yaml"))


def test_an_archive_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {}
    for part, count in (("train", 40), ("test", 10)):
        arrays |= {f"{part}_images": rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)}
        arrays |= {f"{part}_labels": np.arange(count) % 2, f"{part}_sites": np.arange(count) % 3}
    np.savez("scans.npz", site_names=np.array(["a", "b", "c"]), **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"^--classes: is missing; give it$"):
        begin(Path("scans.npz"), Given(), DEFAULTS)
    scenario, _ = begun("scans.npz", classes="no,yes")
    assert (scenario.data.classes, scenario.sites.count) == (("no", "yes"), 3)
    Path("scans.npz").rename("pneumoniamnist.npz")
    scenario, _ = begun("pneumoniamnist.npz")
    assert scenario.data.classes is None
    Path("broken.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"^file 'broken\.npz': is truncated, corrupt"):
        begin(Path("broken.npz"), Given(), DEFAULTS)


def test_a_table_has_a_draft_beside_it(tmp_path: Path) -> None:
    write(Path("ward.csv"), HEADER, visits())
    scenario, result = begun("ward.csv", sites=2)
    assert (scenario.model.family, scenario.sites.count) == ("mixture", 2)
    assert result.columns == Path("ward-columns.yaml")
    text = result.columns.read_text(encoding="utf-8")
    assert text.startswith(FIRST_LINE)
    described = yaml.safe_load(text)
    assert (described["patient"], described["label"]) == ("mrn", {"column": "outcome", "classes": [0, 1]})
    assert list(described["columns"]) == ["age", "crp", "ward"]
    assert any("NOT PRIVATE" in line for line in result.told())
    assert result.to_json()["columns_are_private"] is False
    scenario, _ = begun("ward.csv", sites=2, label="", out=Path("all.yaml"))
    assert scenario.data.declared_schema().classes == ("all",)
    assert {file.stat().st_mode & 0o777 for file in Path().glob("*.yaml")} == {0o600}


def test_hospitals_of_a_table_are_files_or_a_column(tmp_path: Path) -> None:
    for name in ("bergen", "oslo"):
        write(Path("wards") / f"{name}.csv", HEADER, visits())
    scenario, _ = begun("wards")
    assert (scenario.sites.count, scenario.sites.partition) == (2, "natural")
    columns = {"hospital": ["a", "b", "c"] * 20, "label": [0, 1] * 30, "age": list(range(60))}
    pq.write_table(pa.table(columns), "rows.parquet")
    scenario, result = begun("rows.parquet")
    assert (scenario.sites.count, scenario.sites.partition) == (3, "natural")
    assert result.columns is not None
    assert yaml.safe_load(result.columns.read_text(encoding="utf-8"))["site"] == "hospital"
    scenario, result = begun("rows.parquet", sites=5, out=Path("five.yaml"))
    assert (scenario.sites.count, scenario.sites.partition) == (5, "iid")


def test_nothing_is_overwritten() -> None:
    write(Path("ward.csv"), HEADER, visits())
    for name in ("ward.yaml", "ward-columns.yaml"):
        Path(name).write_text("mine", encoding="utf-8")
        with pytest.raises(UsageError, match=f"'{name}': is there already"):
            begin(Path("ward.csv"), Given(), DEFAULTS)
        assert [file.read_text(encoding="utf-8") for file in Path().glob("*.yaml")] == ["mine"]
        Path(name).unlink()


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        (Given(out=Path("mine")), UsageError, "--out mine: is not the name of a YAML file; let it end in .yaml"),
        (Given(out=Path("no/mine.yaml")), UsageError, "scenario 'no/mine.yaml': cannot be written"),
        (Given(image_size=28), UsageError, "--image-size: does not fit a table of 5 columns; leave it out"),
        (Given(classes="a,b"), UsageError, "--classes: does not fit a table of 5 columns; leave it out"),
        (Given(label="outcom"), UsageError, "--label outcom: is not a column of the table; did you mean 'outcome'?"),
        (Given(label="age"), UsageError, "--label age: has not at most 30 values"),
        (Given(epsilon=float("nan")), ConfigError, "privacy.epsilon: input should be"),
        (Given(delta=2.0), ConfigError, "privacy.delta: input should be less than 1, not 2.0"),
        (Given(name="a b"), ConfigError, "name: "),
    ],
)
def test_answers_that_do_not_fit(given: Given, kind: type[Exception], told: str) -> None:
    write(Path("ward.csv"), HEADER, visits())
    with pytest.raises(kind) as refused:
        begin(Path("ward.csv"), given, DEFAULTS)
    assert str(refused.value).startswith(told)
    assert [file.name for file in Path().iterdir()] == ["ward.csv"]


def test_a_table_of_which_nothing_can_be_described() -> None:
    write(Path("notes.csv"), ("note",), ((f"text {n}",) for n in range(40)))
    with pytest.raises(DataError, match="has no columns of which a description can be drafted"):
        begin(Path("notes.csv"), Given(), DEFAULTS)


def test_places_without_such_data(tmp_path: Path) -> None:
    Path("empty").mkdir()
    Path("text.txt").touch()
    for place, told in (
        ("nowhere", "'nowhere': does not exist"),
        ("text.txt", "'text.txt': is neither a table nor an archive"),
        ("empty", "folder 'empty': has no images in class folders"),
    ):
        with pytest.raises((UsageError, DataError)) as refused:
            begin(Path(place), Given(), DEFAULTS)
        assert str(refused.value).startswith(told)


def test_what_is_missing_is_named_where_nobody_can_be_asked() -> None:
    write(Path("ward.csv"), HEADER, visits())
    with pytest.raises(UsageError, match=r"^--name: is missing; give it, or --yes to take ward$"):
        begin(Path("ward.csv"), Given(), ASKING)
    draw(Path("scans/a"))
    with pytest.raises(UsageError, match=r"^--classes: is missing; .*, or --yes$"):
        begin(Path("scans"), Given(name="x"), ASKING)
    with pytest.raises(UsageError, match=r"^--classes a,b: does not name the class folders; give all of them"):
        begin(Path("scans"), Given(name="x", classes="a,b"), ASKING)


def test_on_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object]] = []

    def prompt(name: str, default: object, **_: object) -> object:
        asked.append((name, default))
        return {"sites": 2, "name": "typed"}.get(name, default)

    monkeypatch.setattr(questions, "_on_terminal", lambda: True)
    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    write(Path("ward.csv"), HEADER, visits())
    scenario, _ = begun("ward.csv", asking=ASKING, delta=1e-4)
    assert asked == [("name", "ward"), ("label", "outcome"), ("sites", 4), ("epsilon", 10.0)]
    assert (scenario.name, scenario.sites.count, scenario.privacy.delta) == ("typed", 2, 1e-4)
    draw(Path("scans/a"))
    draw(Path("scans/b"))
    assert begun("scans", asking=ASKING, name="scans")[0].data.classes == ("a", "b")
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    with pytest.raises(UsageError, match="have names that are secret"):
        begin(Path("scans"), Given(name="again"), ASKING)
