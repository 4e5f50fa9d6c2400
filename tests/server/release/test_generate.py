"""Synthetic images on the disk: marked, labelled, reproducible, and never over something else."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from silogan.common.errors import ConfigError, DataError, PrivacyRefusal, UsageError
from silogan.common.modality.image import ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.privacy.plan import SEEDED
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.release.about import SPLITS
from silogan.server.release.generate import generate
from silogan.server.release.generator import save_generator
from silogan.server.release.outputs import OUTPUTS
from tests.server.release.test_generator import rewritten

IMAGES, LABELS = ({f"{split}_{what}" for split in SPLITS} for what in ("images", "labels"))
OTHERS = {"classes", "marks", "study", "about", "info"}


def finished(study: Study, run_dir: Path) -> Path:
    """A run folder with the study's generator."""
    weights = generator_weights(initial_weights(study))
    save_generator(study, weights, run_dir / GENERATOR_FILE)
    return run_dir


@pytest.fixture
def run(study: Study, run_dir: Path) -> Path:
    return finished(study, run_dir)


def draw(run_dir: Path, out: Path, **changes: object) -> str:
    settings = {"count": 7, "file_format": "png", "labels": None, "seed": 3, **changes}
    return str(generate(run_dir, out=out, **settings))  # pyright: ignore[reportArgumentType]


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


BESIDE = ("README.md", "SHA256SUMS", "croissant.json", "metadata.csv")


def pngs(out: Path) -> list[str]:
    return [name for name in files(out) if name not in BESIDE]


def npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_pngs_lie_in_the_folder_of_their_class(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "new" / "out")
    assert set(files(tmp_path / "new" / "out")) >= set(BESIDE)
    assert pngs(tmp_path / "new" / "out") == [
        "one/000000.png",
        "one/000001.png",
        "two/000000.png",
        "two/000001.png",
        "zero/000000.png",
        "zero/000001.png",
        "zero/000002.png",
    ]


def test_the_format_of_an_output_is_that_of_its_name(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "x.npz", file_format=None)
    assert len(npz(tmp_path / "x.npz")["train_images"]) == 7
    for name, file_format, problem in (
        ("x.png", None, "is the name of one image"),
        ("x.csv", None, r"ends with \.csv, but images are not written so; use png, npz, parquet, dicom, nifti"),
        ("y.npz", "png", r"ends with \.npz, but --format is png"),
    ):
        with pytest.raises(UsageError, match=problem):
            draw(run, tmp_path / name, file_format=file_format)
        assert not (tmp_path / name).exists() or name == "x.npz"
    draw(run, tmp_path / "v1.2", file_format=None)
    assert (tmp_path / "v1.2" / "one").is_dir()


def test_every_png_carries_its_marks(run: Path, study: Study, tmp_path: Path) -> None:
    assert draw(run, tmp_path / "out") == f"7 synthetic images in {tmp_path / 'out'} ({SEEDED})"
    for name in pngs(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.mode == "L"
            assert image.size == (8, 8)
            assert image.text["SiloGAN"] == f"synthetic; {SEEDED}"
            assert image.text["study"] == study.study_id
            assert image.text["privacy"].startswith("differentially private for each record of each hospital: ε at mo")
            assert image.text["licence"] == "not stated"


def test_without_a_seed_in_training_there_is_no_mark(
    make_study: Callable[..., Study], run_dir: Path, tmp_path: Path
) -> None:
    run = finished(make_study(seed=None), run_dir)
    assert draw(run, tmp_path / "out", count=1) == f"1 synthetic image in {tmp_path / 'out'}"
    with Image.open(tmp_path / "out" / "zero" / "000000.png") as image:
        assert image.text["SiloGAN"] == "synthetic"


def test_an_npz_has_the_layout_of_medmnist_and_its_marks(run: Path, study: Study, tmp_path: Path) -> None:
    draw(run, tmp_path / "out.npz", file_format="npz")
    arrays = npz(tmp_path / "out.npz")
    assert arrays.keys() == IMAGES | LABELS | OTHERS
    assert (arrays["train_images"].shape, arrays["train_images"].dtype) == ((7, 8, 8), np.uint8)
    assert arrays["train_labels"].tolist() == [[0], [1], [2], [0], [1], [2], [0]]
    assert arrays["classes"].tolist() == ["zero", "one", "two"]
    assert arrays["marks"].tolist() == ["synthetic", SEEDED]
    assert str(arrays["study"]) == study.study_id


def test_both_formats_hold_the_same_images(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "out")
    draw(run, tmp_path / "out.npz", file_format="npz")
    arrays = npz(tmp_path / "out.npz")
    for label, name in enumerate(arrays["classes"]):
        of_class = arrays["train_images"][arrays["train_labels"][:, 0] == label]
        for number, pixels in enumerate(of_class):
            with Image.open(tmp_path / "out" / str(name) / f"{number:06d}.png") as image:
                assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("file_format", OUTPUTS["image"].formats)
def test_a_seed_draws_the_same_files_again(run: Path, tmp_path: Path, file_format: str) -> None:
    def drawn(name: str, seed: int | None) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        draw(run, tmp_path / name / "out", file_format=file_format, seed=seed)
        return files(tmp_path / name)

    assert drawn("a", 3) == drawn("b", 3)
    assert drawn("c", 4) != drawn("a2", 3)
    assert drawn("d", None) != drawn("e", None)


def test_labels_are_chosen_by_name(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "out.npz", file_format="npz", labels=("two", "zero"), count=5)
    assert npz(tmp_path / "out.npz")["train_labels"][:, 0].tolist() == [2, 0, 2, 0, 2]
    draw(run, tmp_path / "out", labels=("one",), count=2)
    assert pngs(tmp_path / "out") == ["one/000000.png", "one/000001.png"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("zerro",), "unknown class 'zerro'; did you mean 'zero'?"),
        (("one", "q"), "unknown class 'q'; use one of zero, one, two"),
        (("0",), "unknown class '0'"),
        (("",), "unknown class ''"),
    ],
)
def test_an_unknown_label_is_answered_with_the_nearest(
    run: Path, tmp_path: Path, labels: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        draw(run, tmp_path / "out", labels=labels)
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_generator_without_labels_has_none_to_choose(
    make_study: Callable[..., Study], run_dir: Path, tmp_path: Path
) -> None:
    study = make_study(model={"family": "article"}, schema=ImageSchema(64, 3, ("healthy", "ill")))
    run = finished(study, run_dir)
    draw(run, tmp_path / "out", count=2)
    assert pngs(tmp_path / "out") == ["images/000000.png", "images/000001.png"]
    with Image.open(tmp_path / "out" / "images" / "000001.png") as image:
        assert (image.mode, image.size) == ("RGB", (64, 64))
    draw(run, tmp_path / "out.npz", count=2, file_format="npz")
    arrays = npz(tmp_path / "out.npz")
    assert arrays.keys() == IMAGES | OTHERS
    assert arrays["train_images"].shape == (2, 64, 64, 3)
    with pytest.raises(UsageError, match="has no classes to choose from"):
        draw(run, tmp_path / "other", labels=("ill",))


@pytest.mark.parametrize("file_format", OUTPUTS["image"].formats)
def test_a_generator_without_privacy_is_refused_and_nothing_is_written(
    make_study: Callable[..., Study], run_dir: Path, tmp_path: Path, file_format: str
) -> None:
    run = finished(make_study(privacy={"enabled": False}), run_dir)
    with pytest.raises(PrivacyRefusal, match="NON-PRIVATE") as caught:
        draw(run, tmp_path / "out", file_format=file_format)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file_format", OUTPUTS["image"].formats)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_exists_is_never_written_over(run: Path, tmp_path: Path, file_format: str, what: str) -> None:
    out = tmp_path / "out"
    if what == "folder":
        out.mkdir()
    precious = out if what == "file" else out / "thesis.txt"
    precious.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        draw(run, out, file_format=file_format)
    assert precious.read_text() == "precious"
    assert len(list(tmp_path.rglob("*.png"))) == 0


def test_an_empty_folder_may_be_filled(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    draw(run, tmp_path / "out")
    assert len(pngs(tmp_path / "out")) == 7


@pytest.mark.parametrize("file_format", OUTPUTS["image"].formats)
def test_a_place_that_cannot_be_written_is_named(run: Path, tmp_path: Path, file_format: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--out .*file/out: cannot be written"):
        draw(run, tmp_path / "file" / "out", file_format=file_format)


@pytest.mark.parametrize("name", ["../../escaped", "..", ".", "a/b", "/escaped"])
def test_the_name_of_a_class_never_leads_out_of_the_folder(
    make_study: Callable[..., Study], run_dir: Path, tmp_path: Path, name: str
) -> None:
    """A run folder may come from somebody else."""
    run = finished(make_study(schema=ImageSchema(8, 1, ("good", name))), run_dir)
    before = {str(path) for path in tmp_path.rglob("*")}
    with pytest.raises(UsageError, match="cannot be the name of a folder; use npz or parquet"):
        draw(run, tmp_path / "deep" / "er" / "out")
    assert {str(path) for path in tmp_path.rglob("*")} - before <= {str(tmp_path / "deep"), str(tmp_path / "deep/er")}
    draw(run, tmp_path / "out.npz", file_format="npz")


@pytest.mark.parametrize("name", ["", "nul\0"])
def test_a_class_without_a_name_that_can_be_printed_is_no_class(name: str) -> None:
    with pytest.raises(ValueError, match="classes"):
        ImageSchema(size=8, channels=1, classes=("good", name))


def test_an_unfinished_run_has_no_generator(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing or damaged; give the folder of a finished run"):
        draw(run_dir, tmp_path / "out")


def test_an_unknown_format_is_answered_with_those_that_there_are(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--format npy: is not available for images; use png, npz, parquet, dicom, nifti$"
    ):
        draw(run, tmp_path / "out", file_format="npy")


@pytest.mark.parametrize("file_format", OUTPUTS["image"].formats)
def test_a_full_disk_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    """Whatever was written until then is gone, also where the last file does not fit."""
    before = {str(path) for path in tmp_path.rglob("*")}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("silogan.server.release.manifest.sha256_of", "silogan.server.release.outputs.written.croissant"):
        with monkeypatch.context() as patched:
            patched.setattr(name, full)
            with pytest.raises(ConfigError, match=r"--out .*out: cannot be written \(No space left on device\)"):
                draw(run, tmp_path / "out", file_format=file_format)
        assert {str(path) for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("ending", [".croissant.json", ".sha256"])
def test_what_lies_beside_a_file_is_never_written_over(run: Path, tmp_path: Path, ending: str) -> None:
    (tmp_path / f"x.npz{ending}").write_text("precious")
    with pytest.raises(UsageError, match=r"has a file beside it already, x\.npz"):
        draw(run, tmp_path / "x.npz", file_format="npz")
    assert (tmp_path / f"x.npz{ending}").read_text() == "precious"
    assert not (tmp_path / "x.npz").exists()


def test_a_licence_is_stated_where_it_is_given(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "x.npz", file_format="npz", licence=" CC-BY-4.0 ")
    assert json.loads(str(npz(tmp_path / "x.npz")["about"]))["licence"] == "CC-BY-4.0"
    for wrong in ("", "two\nlines", "x" * 201):
        with pytest.raises(UsageError, match=r"^--licence: is not one line of 1 to 200 characters"):
            draw(run, tmp_path / "y.npz", licence=wrong, file_format="npz")


def test_splits_are_of_npz_alone_and_add_up(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "x.npz", file_format="npz", splits="50, 30,20", count=10)
    assert [len(npz(tmp_path / "x.npz")[f"{split}_images"]) for split in SPLITS] == [5, 3, 2]
    with pytest.raises(UsageError, match=r"^--splits: is not available for png; leave it out, or use --format npz$"):
        draw(run, tmp_path / "y", splits="80,10,10")
    for wrong in ("80,10", "80,10,20", "110,-10,0", "a,b,c", "", "33.3,33.3,33.4", "²,0,98", f"{'9' * 5000},0,0"):
        with pytest.raises(UsageError, match=r"are not three shares in percent; write them as 80,10,10$"):
            draw(run, tmp_path / "y.npz", file_format="npz", splits=wrong)


def test_a_hostile_generator_puts_no_line_into_a_file(run: Path, tmp_path: Path) -> None:
    for changes in (
        {"marks": ["fine\nprivacy: perfect"]},
        {"marks": [3]},
        {"study_id": "a\x1b[2J"},
        {"study_id": "a\\b"},
    ):
        rewritten(run / GENERATOR_FILE, **changes)
        with pytest.raises(DataError, match="is missing or damaged"):
            draw(run, tmp_path / "out")


@pytest.mark.parametrize("value", [-1, "10", float("nan"), 1e9, None])
def test_a_hostile_generator_claims_no_odd_epsilon(run: Path, study: Study, tmp_path: Path, value: object) -> None:
    rewritten(run / GENERATOR_FILE, plan={**asdict(study.plan), "epsilon": value})
    with pytest.raises(DataError, match="is missing or damaged"):
        draw(run, tmp_path / "out")
