"""DICOM, NIfTI, TIFF and packed files that mean harm: one line each, without a file's name or what stands in it."""

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from silogan.client.data import read
from silogan.client.data.dicom import MOST_BYTES
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Folder, Mnist, Slices, Window
from silogan.simulations.fuzz.medical import write_dicom, write_nifti

PATIENT = "DOE-JANE-1961"
PLACE = "image 1 of class 'a', in name order: "
STORED = np.arange(64, dtype=np.uint16).reshape(8, 8)
STACK = np.arange(8 * 8 * 3, dtype=np.int16).reshape(8, 8, 3)
MOST_MEMORY = 64 * 2**20

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, of writing what it must not


def refusal(root: Path, **options: Any) -> str:
    """The line that a folder is refused with, which holds nothing secret and took no memory to find."""
    window = Window(centre=32, width=64)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read(Folder(root=root, classes=("a",), window=window, **options), may_be_empty=True)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert said.startswith(PLACE)
    assert PATIENT not in said
    assert said.isprintable()
    return said.removeprefix(PLACE)


# --- DICOM -----------------------------------------------------------------------------------------------------------


def dicom(root: Path, stored: np.ndarray[Any, Any] = STORED, **attributes: Any) -> Path:
    (root / "a").mkdir(exist_ok=True)
    path = root / "a" / f"{PATIENT}.dcm"
    write_dicom(path, stored, PATIENT, PatientName=PATIENT, **attributes)
    return path


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"BurnedInAnnotation": "YES"}, "may show who the patient is (BurnedInAnnotation)"),
        ({"BurnedInAnnotation": "yes "}, "may show who the patient is (BurnedInAnnotation)"),
        ({"BurnedInAnnotation": ["NO", "YES"]}, "may show who the patient is (BurnedInAnnotation)"),
        ({"RecognizableVisualFeatures": "YES"}, "may show who the patient is (RecognizableVisualFeatures)"),
        ({"SamplesPerPixel": 3}, "is not grey"),
        ({"SamplesPerPixel": None}, "is not grey"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is not grey"),
        ({"PhotometricInterpretation": PATIENT}, "is not grey"),
        ({"PhotometricInterpretation": None}, "is not grey"),
        ({"NumberOfFrames": 2}, "has several frames"),
        ({"NumberOfFrames": 0}, "has several frames"),
        ({"NumberOfFrames": -1}, "has several frames"),
        ({"Rows": 65535, "Columns": 65535}, "has no pixels, or too many"),
        ({"Rows": 0}, "has no pixels, or too many"),
        ({"Columns": None}, "has no pixels, or too many"),
        ({"Rows": [8, 8]}, "has no pixels, or too many"),
        ({"BitsAllocated": 32}, "has pixels that are not integers of up to 16 bits"),
        ({"BitsAllocated": 1}, "has pixels that are not integers of up to 16 bits"),
        ({"BitsStored": 17}, "has pixels that are not integers of up to 16 bits"),
        ({"BitsStored": 0, "HighBit": 0}, "has pixels that are not integers of up to 16 bits"),
        ({"HighBit": 7}, "has pixels that are not integers of up to 16 bits"),
        ({"PixelRepresentation": 2}, "has pixels that are not integers of up to 16 bits"),
        ({"PixelAspectRatio": ["2", "1"]}, "has pixels that are not square"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "has a slope or intercept that is no number, or a slope of 0"),
        ({"RescaleSlope": "1e400", "RescaleIntercept": "0"}, "has a slope or intercept that is no number"),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1e400"}, "has a slope or intercept that is no number"),
        ({"RescaleSlope": "1"}, "is corrupt or not what its suffix says"),
        ({"RescaleSlope": ["1", "2"], "RescaleIntercept": "0"}, "is corrupt or not what its suffix says"),
        ({"PixelData": STORED.tobytes()[:-2]}, "is truncated, or has more pixels than it says"),
        ({"PixelData": STORED.tobytes() + b"\0\0"}, "is truncated, or has more pixels than it says"),
        ({"PixelData": b""}, "is corrupt or not what its suffix says"),
    ],
)
def test_a_dicom_file_that_is_not_one_grey_image_is_refused(
    tmp_path: Path, attributes: dict[str, Any], problem: str
) -> None:
    dicom(tmp_path, **attributes)
    assert refusal(tmp_path).startswith(problem)


@pytest.mark.parametrize("group", [0x6000, 0x601E])
@pytest.mark.parametrize("element", [0x0010, 0x3000])
def test_overlays_are_refused(tmp_path: Path, group: int, element: int) -> None:
    path = dicom(tmp_path)
    dataset = dcmread(path)
    dataset.add_new((group, element), "US" if element == 0x0010 else "OW", 8 if element == 0x0010 else b"\xff" * 8)
    dataset.save_as(path)
    assert refusal(tmp_path).startswith("has an overlay")


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "SharedFunctionalGroupsSequence"])
def test_values_in_other_units_than_slope_and_intercept_say_are_refused(tmp_path: Path, name: str) -> None:
    dicom(tmp_path, **{name: [Dataset()]})
    assert refusal(tmp_path).startswith(("has a table in place of", "is an enhanced image"))


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = dicom(tmp_path)
    content = path.read_bytes()
    for end in range(0, len(content), 13):
        path.write_bytes(content[:end])
        refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", bytes(200), bytes(128) + b"DICM", b"\x89PNG\r\n\x1a\n" + bytes(200)]
)
def test_what_is_not_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    dicom(tmp_path).write_bytes(content)
    assert refusal(tmp_path).startswith("is corrupt or not what its suffix says")


def test_a_directory_of_dicom_files_is_refused(tmp_path: Path) -> None:
    shipped = get_testdata_file("DICOMDIR", download=False)
    assert isinstance(shipped, str)
    dicom(tmp_path).write_bytes(Path(shipped).read_bytes())
    assert refusal(tmp_path).startswith("has no pixels, or is a directory (DICOMDIR)")


def test_a_deflated_file_is_not_unpacked(tmp_path: Path) -> None:
    path = dicom(tmp_path)
    dataset = dcmread(path)
    dataset.ImageComments = "x"
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    packer = zlib.compressobj(wbits=-15)
    with path.open("ab") as file:
        file.write(packer.compress(bytes(2**28)) + packer.flush())
    assert refusal(tmp_path).startswith("is compressed in a way that is not decoded here (Deflated")


def test_compressed_pixels_are_bounded_by_what_they_claim_to_be(tmp_path: Path) -> None:
    """A run-length code of 1 MiB unpacks to 64 MiB, whatever rows and columns say."""
    path = dicom(tmp_path)
    dataset = dcmread(path)
    segment = bytes([129, 0]) * 2**19
    header = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13)
    dataset.PixelData = encapsulate([header + segment * 2])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.save_as(path)
    assert refusal(tmp_path).startswith("is truncated, or has more pixels than it says")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with dicom(tmp_path).open("ab") as file:
        file.truncate(MOST_BYTES + 1)
    assert refusal(tmp_path).startswith("is larger than 256 MiB")


def test_sequences_in_sequences_are_no_traceback(tmp_path: Path) -> None:
    path = dicom(tmp_path)
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x02\x00US")
    opened = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(content[:at] + opened * 20_000 + content[at:])
    assert refusal(tmp_path).startswith("is corrupt or not what its suffix says")


# --- NIfTI -----------------------------------------------------------------------------------------------------------


def nifti(root: Path, suffix: str = ".nii", **fields: Any) -> Path:
    (root / "a").mkdir(exist_ok=True)
    path = root / "a" / f"{PATIENT}{suffix}"
    write_nifti(path, fields.pop("stored", STACK), np.eye(4), **fields)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "is larger than 256 MiB"),
        ({"dim": [7, 2, 2, 2, 2, 2, 2, 2]}, "is no image or volume"),
        ({"dim": [1, 8, 1, 1, 1, 1, 1, 1]}, "is no image or volume"),
        ({"dim": [3, 8, 8, 0, 1, 1, 1, 1]}, "is no image or volume"),
        ({"dim": [3, -8, -8, 3, 1, 1, 1, 1]}, "is no image or volume"),
        ({"dim": [3, 8, 8, 4, 1, 1, 1, 1]}, "is truncated, or longer than it says"),
        ({"dim": [3, 8, 8, 2, 1, 1, 1, 1]}, "is truncated, or longer than it says"),
        ({"scl_slope": np.nan, "scl_inter": 0}, "has a slope or intercept that is no number"),
        ({"scl_slope": np.inf, "scl_inter": 0}, "has a slope or intercept that is no number"),
        ({"scl_slope": 1, "scl_inter": -np.inf}, "has a slope or intercept that is no number"),
        ({"datatype": 32, "bitpix": 64}, "has values that are not real numbers of up to 64 bits"),
        ({"datatype": 128, "bitpix": 24}, "has values that are not real numbers of up to 64 bits"),
        ({"datatype": 999}, "is corrupt or not what its suffix says"),
        ({"vox_offset": 1e30}, "is larger than 256 MiB"),
        ({"vox_offset": np.nan}, "is corrupt or not what its suffix says"),
        ({"vox_offset": -352}, "is corrupt or not what its suffix says"),
        ({"magic": b"ni1"}, "is not a NIfTI file with its values in it"),
        ({"magic": b"no"}, "is not a NIfTI file with its values in it|is corrupt"),
        ({"srow_x": [np.nan] * 4}, "does not say how the body lies in it"),
        ({"sform_code": 0, "qform_code": 0}, "does not say how the body lies in it"),
        ({"stored": np.full((8, 8, 3), np.nan)}, "has a value that is not a number"),
        ({"stored": np.full((8, 8, 3), -np.inf, np.float32)}, "has a value that is not a number"),
    ],
)
def test_a_hostile_header_is_refused(tmp_path: Path, fields: dict[str, Any], problem: str, suffix: str) -> None:
    nifti(tmp_path, suffix, **fields)
    assert refusal(tmp_path, slices=Slices(axis="axial")).startswith(tuple(problem.split("|")))


def test_large_numbers_are_numbers(tmp_path: Path) -> None:
    nifti(tmp_path, stored=np.full((8, 8, 3), 3e38, np.float32), scl_slope=1e38)
    data = Folder(root=tmp_path, classes=("a",), window=Window(centre=0, width=1e-6), slices=Slices(axis=2))
    found = read(data, may_be_empty=True)
    assert {int(value) for part in (found.train, found.test) for value in part.stored[PIXELS].unique()} == {255}


def test_a_packed_volume_is_unpacked_as_far_as_its_header_says(tmp_path: Path) -> None:
    path = nifti(tmp_path)
    content = path.read_bytes()
    path.unlink()
    path.with_suffix(".nii.gz").write_bytes(gzip.compress(content + bytes(2**28), 1))
    assert refusal(tmp_path, slices=Slices(axis=2)).startswith("is truncated, or longer than it says")


def test_a_damaged_packed_volume_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path, ".nii.gz")
    content = path.read_bytes()
    for spoilt in (content[:-9], content[:40], content[:-8] + bytes(8), content[:2], b""):
        path.write_bytes(spoilt)
        assert refusal(tmp_path, slices=Slices(axis=2)).startswith("is corrupt or not what its suffix says")


# --- pictures and idx ------------------------------------------------------------------------------------------------


def test_pages_and_white_at_zero_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / f"{PATIENT}.tif"
    for image in (Image.fromarray(STORED), Image.fromarray(STORED.astype(np.uint8))):
        image.save(path, save_all=True, append_images=[image])
        assert refusal(tmp_path).startswith("has several pages")
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[262] = 0
    Image.fromarray(STORED).save(path, tiffinfo=info)
    content = path.read_bytes()
    at = content.index(struct.pack("<HHI", 262, 3, 1))
    path.write_bytes(content[: at + 8] + b"\0\0" + content[at + 10 :])
    assert refusal(tmp_path).startswith("has several pages, or white at zero")


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "a" / f"{PATIENT}.tif")
    assert refusal(tmp_path).startswith("has a value that is not a number")


def test_a_long_thin_image_takes_no_memory_to_pad(tmp_path: Path) -> None:
    """Padded before it is resized, it would take 64 TiB."""
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((1, 2**20), np.uint8)).save(tmp_path / "a" / f"{PATIENT}.png")
    assert refusal(tmp_path, fit="pad").startswith("is 1 x 1048576 pixels, not square with 8 to 256")
    found = read(Folder(root=tmp_path, classes=("a",), fit="pad", image_size=8), may_be_empty=True)
    assert found.schema.shape == (1, 8, 8)


def test_packed_idx_files_are_bounded(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for split, kind, shape in (("train", "images-idx3", (4, 28, 28)), ("train", "labels-idx1", (4,))):
        for name in (split, "t10k"):
            head = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
            content = head + bytes(int(np.prod(shape)))
            (raw / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    assert len(read(Mnist(root=tmp_path)).train) == 4
    bomb = raw / "train-images-idx3-ubyte.gz"
    packed = gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 257, 2**10, 2**10) + bytes(257 * 2**20), 1)
    for content in (packed, packed[:-4], b"", b"\x1f\x8b", bomb.read_bytes()[:-3]):
        bomb.write_bytes(content)
        with pytest.raises(DataError, match=r"^MNIST in '.*': is corrupt; delete"):
            read(Mnist(root=tmp_path))
