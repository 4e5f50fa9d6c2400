"""A folder of PNG by class, as `imagefolder` reads it: each file says what it is, and the folder's hashes are right."""

import csv
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from silogan.common.errors import UsageError
from silogan.server.release.about import DIGITAL_SOURCE_TYPE, About
from silogan.server.release.outputs.image_png import XMP, write_png
from tests.server.release.outputs.described import records, validated
from tests.server.release.outputs.pictures import about, drawn, expected

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


def written(folder: Path, of: About, *, labelled: bool = True) -> Path:
    write_png(folder / "out", drawn(of, labelled=labelled), of)
    return folder / "out"


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_in_the_folder_of_its_class(tmp_path: Path, channels: int) -> None:
    of = about(5, channels=channels)
    out = written(tmp_path, of)
    assert sorted(path.name for path in out.iterdir()) == [
        *("README.md", "SHA256SUMS", "a b", "croissant.json", "metadata.csv", "ä"),
    ]
    for name, images in expected(of).items():
        assert len(list((out / name).iterdir())) == len(images)
        for number, pixels in enumerate(images):
            with Image.open(out / name / f"{number:06d}.png") as image:
                assert np.array_equal(np.asarray(image), pixels)


def test_metadata_name_every_file_and_its_class(tmp_path: Path) -> None:
    of = about(3, classes=('say "no", twice', "b"))
    text = (written(tmp_path, of) / "metadata.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    first = of.schema.classes[0]
    assert rows == [
        ["file_name", "label"],
        [f"{first}/000000.png", first],
        ["b/000000.png", "b"],
        [f"{first}/000001.png", first],
    ]


def test_images_without_a_class_have_no_label(tmp_path: Path) -> None:
    out = written(tmp_path, about(3), labelled=False)
    assert (out / "metadata.csv").read_text() == "file_name\nimages/000000.png\nimages/000001.png\nimages/000002.png\n"


def test_every_file_is_marked_in_text_and_xmp(tmp_path: Path) -> None:
    of = about(2, licence='my "own" <licence> & more')
    for path in written(tmp_path, of).rglob("*.png"):
        with Image.open(path) as image:
            said = dict(image.text)  # pyright: ignore[reportAttributeAccessIssue]
        packet = said.pop(XMP)
        assert said == of.facts()
        (description,) = ElementTree.fromstring(packet.encode())[0]  # noqa: S314  (our own)
        assert description.get(IPTC) == DIGITAL_SOURCE_TYPE
        assert description.get("{http://ns.adobe.com/xap/1.0/}CreateDate") == "2026-03-09"
        assert "".join(description.itertext()) == 'my "own" <licence> & more'


def test_without_a_licence_none_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(tmp_path, about(2, licence=None, guarantee=None))
    with Image.open(out / "ä" / "000000.png") as image:
        text = image.text  # pyright: ignore[reportAttributeAccessIssue]
        assert (text["licence"], text["privacy"]) == ("not stated", "not stated")
        assert "rights" not in text[XMP]
    assert validated(out / "croissant.json", monkeypatch).metadata.license is None


def test_hashes_are_those_of_all_files(tmp_path: Path) -> None:
    out = written(tmp_path, about(4))
    check = ["sha256sum", "-c", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    listed = {line.partition(":")[0] for line in done.stdout.splitlines()}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert listed == there - {"SHA256SUMS"}


def test_croissant_reads_files_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(tmp_path, about(3))
    described = validated(out / "croissant.json", monkeypatch)
    assert described.metadata.license == ["CC-BY-4.0"]
    assert "ε at most 9.998 at δ = 0.0001" in described.metadata.personal_sensitive_information[0]
    assert records(described, "records") == [
        {"file_name": "a b/000000.png", "label": "a b"},
        {"file_name": "ä/000000.png", "label": "ä"},
        {"file_name": "a b/000001.png", "label": "a b"},
    ]
    assert {one["file_name"]: one["image"].size for one in records(described, "images-by-file")} == {
        "a b/000000.png": (7, 7),
        "a b/000001.png": (7, 7),
        "ä/000000.png": (7, 7),
    }


def test_readme_says_what_it_is_and_how_to_check(tmp_path: Path) -> None:
    text = (written(tmp_path, about(3)) / "README.md").read_text(encoding="utf-8")
    for said in ("# Synthetic images of study ab12ab12", "3 images", "synthetic; seeded", "CC-BY-4.0", "sha256sum -c"):
        assert said in text


@pytest.mark.parametrize("name", ["metadata.csv", "Readme.MD", "sha256sums", "croissant.json", "A B"])
def test_a_class_takes_no_name_of_another_file(tmp_path: Path, name: str) -> None:
    """Systems differ on whether two names that differ by their case are the same."""
    with pytest.raises(UsageError, match=r"^--format png: class '.*' cannot be the name of a folder; use npz or parq"):
        written(tmp_path, about(3, classes=("a b", name)))
    assert not list(tmp_path.iterdir())
