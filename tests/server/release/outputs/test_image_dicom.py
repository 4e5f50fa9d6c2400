"""DICOM files, read by pydicom and checked by the standard's own rules, as `dciodvfy` checks them."""

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pytest

from silogan.common.errors import UsageError
from silogan.server.release.about import About
from silogan.server.release.outputs.image_dicom import write_dicom
from tests.server.release.outputs.described import records, validated
from tests.server.release.outputs.pictures import about, drawn, expected

pydicom = pytest.importorskip("pydicom")

TYPE_1 = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ConversionType"),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData", "SpecificCharacterSet"),
)
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "InstanceNumber", "PatientOrientation"),
    "Manufacturer",
)
"""Of the modules of a Secondary Capture image (PS3.3, A.8.1): there with a value, and there. Of type 1 are those that
become so by what is in the file."""

TYPE_3 = (
    *("ImageType", "InstanceCreationDate", "SyntheticData", "StudyDescription", "SeriesDescription"),
    *("SoftwareVersions", "DerivationDescription", "ImageComments"),
)
MOST = {
    **{
        "CS": 16,
        "DA": 8,
        "DS": 16,
        "IS": 12,
        "LO": 64,
        "LT": 10240,
        "PN": 64,
        "SH": 16,
        "ST": 1024,
        "TM": 14,
        "UI": 64,
    },
    "US": 2,
}
"""Characters or bytes of a value (PS3.5, table 6.2-1)."""

SYNTAX = {
    "UI": re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+"),
    "CS": re.compile(r"[A-Z0-9 _]*"),
    "DA": re.compile(r"(\d{8})?"),
    "IS": re.compile(r"[+-]?\d+"),
}


class Element(NamedTuple):
    tag: tuple[int, int]
    vr: str
    value: bytes


def elements(path: Path) -> Iterator[Element]:
    """Of a file in explicit VR, little endian, read byte by byte."""
    content = path.read_bytes()
    assert content[:128].strip(b"\0") == b""
    assert content[128:132] == b"DICM"
    at = 132
    while at < len(content):
        group, number, vr = struct.unpack_from("<HH2s", content, at)
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            (length,), at = struct.unpack_from("<I", content, at + 8), at + 12
        else:
            (length,), at = struct.unpack_from("<H", content, at + 6), at + 8
        assert at + length <= len(content)
        yield Element((group, number), vr.decode(), content[at : at + length])
        at += length


def problems(path: Path) -> list[str]:
    """What the standard does not allow."""
    read, image = list(elements(path)), pydicom.dcmread(path)
    tags = [one.tag for one in read]
    found = [] if tags == sorted(set(tags)) else ["elements are not in order"]
    found += [f"{one.tag} is not allowed" for one in read if len(one.value) % 2 or not allowed(one)]
    found += [f"{name} has no value" for name in TYPE_1 if image.get(name) in (None, "", b"")]
    found += [f"{name} is missing" for name in TYPE_2 if name not in image]
    known = {*TYPE_1, *TYPE_2, *TYPE_3, "PlanarConfiguration"}
    found += [f"{one.keyword} is not of such an image" for one in image if one.keyword not in known]
    if (image.SamplesPerPixel == 3) != ("PlanarConfiguration" in image):
        found.append("PlanarConfiguration is of colour, and of nothing else")
    size = image.Rows * image.Columns * image.SamplesPerPixel
    if len(image.PixelData) != size + size % 2:
        found.append("PixelData are too long or too short")
    if image.file_meta.MediaStorageSOPInstanceUID != image.SOPInstanceUID:
        found.append("the file's UID is another")
    return found


def allowed(one: Element) -> bool:
    """Whether length and characters of a value are those of its type."""
    if one.vr in ("OB", "UL"):
        return True
    if one.vr == "US":
        return len(one.value) == MOST["US"]
    text = one.value.decode().rstrip("\0" if one.vr == "UI" else " ")
    parts = [text] if one.vr in ("LT", "ST") else text.split("\\")
    right = SYNTAX.get(one.vr, re.compile(".*", re.DOTALL))
    return all(len(part) <= MOST[one.vr] and right.fullmatch(part) for part in parts)


def written(folder: Path, of: About, name: str = "out", seed: int = 0) -> Path:
    write_dicom(folder / name, drawn(of, seed=seed), of)
    return folder / name


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_follow_the_standard_and_hold_the_images(tmp_path: Path, channels: int, size: int) -> None:
    of = about(5, channels=channels, size=size)
    out = written(tmp_path, of)
    for name, images in expected(of).items():
        for number, pixels in enumerate(images):
            path = out / name / f"{number:06d}.dcm"
            assert problems(path) == []
            image = pydicom.dcmread(path)
            assert np.array_equal(image.pixel_array, pixels)
            assert image.PhotometricInterpretation == ("MONOCHROME2" if channels == 1 else "RGB")
            assert (image.SOPClassUID.name, image.ConversionType) == ("Secondary Capture Image Storage", "SYN")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_the_rules_find_what_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, about(2)) / "ä" / "000000.dcm"
    image = pydicom.dcmread(path)
    del image.PatientID
    image.Modality = ""
    image.SliceThickness = "1"
    image.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"2.25.", b"2.x5."))
    found = problems(path)
    for said in (
        "PatientID is missing",
        "Modality has no value",
        "SliceThickness is not of such",
        "(8, 24) is not allowed",
    ):
        assert any(said in one for one in found)


def test_every_file_says_that_it_is_synthetic_and_claims_nothing_clinical(tmp_path: Path) -> None:
    of = about(4)
    for path in written(tmp_path, of).rglob("*.dcm"):
        image = pydicom.dcmread(path)
        assert image[0x0008, 0x001C].value == "YES"
        assert str(image.PatientName) == "SYNTHETIC^NOT A PATIENT"
        assert image.PatientID == "SYNTHETIC-ab12ab12ab12ab12"
        assert image.InstanceCreationDate == "20260309"
        for name in ("StudyDate", "StudyTime", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"):
            assert not image[name].value
        for said in of.facts().values():
            assert said in image.ImageComments


def test_uids_are_fresh_and_of_a_uuid(tmp_path: Path) -> None:
    def uids(out: Path) -> dict[str, set[str]]:
        images = [pydicom.dcmread(path) for path in out.rglob("*.dcm")]
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        return {name: {str(image[name].value) for image in images} for name in names}

    of = about(4)
    first, again, other = (uids(written(tmp_path, of, name, seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert [len(values) for values in first.values()] == [1, 2, 4]
    assert first == again  # the same images, drawn again
    assert not set().union(*first.values()) & set().union(*other.values())
    for value in set().union(*first.values()):
        assert UUID(int=int(value.removeprefix("2.25."))).version == 5


def test_one_image_twice_is_two_instances(tmp_path: Path) -> None:
    of = about(4, classes=("a",))
    blank = list(drawn(of))
    for part in blank:
        part.records["pixels"].zero_()
    write_dicom(tmp_path / "out", blank, of)
    found = [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "out").rglob("*.dcm")]
    assert len(set(found)) == 4


def test_croissant_reads_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = records(validated(written(tmp_path, about(2)) / "croissant.json", monkeypatch), "records")
    assert found == [{"file_name": "a b/000000.dcm", "label": "a b"}, {"file_name": "ä/000000.dcm", "label": "ä"}]


@pytest.mark.parametrize("name", ["a\\b", "x" * 65])
def test_a_class_that_describes_no_series_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^--format dicom: class '.*' cannot be the description of a series"):
        written(tmp_path, about(3, classes=("a", name)))
    assert not list(tmp_path.iterdir())


def test_long_marks_and_licences_fit(tmp_path: Path) -> None:
    of = about(2, marks=("x" * 20_000,), licence="y" * 200)
    assert problems(written(tmp_path, of) / "ä" / "000000.dcm") == []


def test_without_pydicom_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"^--format dicom: needs pydicom, which is not installed; pip install 'silo"):
        written(tmp_path, about(3))
    assert not list(tmp_path.iterdir())
