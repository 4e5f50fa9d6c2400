import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from silogan.client.data import read
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality import image_files
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Folder

PATIENT = "DOE_JANE_1961"


def picture(seed: int, size: tuple[int, int] = (16, 16), mode: str = "L") -> Image.Image:
    shape = size if mode == "L" else (*size, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode=None)


def fill(parent: Path, count: int = 8, classes: tuple[str, ...] = ("a", "b"), mode: str = "L") -> None:
    for label, name in enumerate(classes):
        (parent / name).mkdir(parents=True)
        for number in range(count):
            picture(1000 * label + number, mode=mode).save(parent / name / f"{PATIENT}_{number:03}.png")


def config(root: Path, **keys: object) -> Folder:
    return Folder.model_validate(
        {"source": "folder", "root": root, "classes": ("a", "b"), "test_fraction": 0.4, **keys}
    )


def refusal(root: Path, **keys: object) -> str:
    """The one-line refusal; no word of a patient's file may be in it."""
    with pytest.raises(DataError) as caught:
        read(config(root, **keys))
    text = str(caught.value)
    assert PATIENT not in text
    assert "\n" not in text
    return text


def rows(pixels: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in pixels}


def test_declared_order_gives_the_labels_and_every_image_is_in_one_split(tmp_path: Path) -> None:
    fill(tmp_path)
    data = read(config(tmp_path, classes=("b", "a")))
    assert data.schema.classes == ("b", "a")
    assert (data.schema.size, data.schema.channels) == (16, 1)
    assert data.site_names is None
    assert data.train.sites is None
    assert len(data.train) + len(data.test) == 16
    train, test = rows(data.train.stored[PIXELS]), rows(data.test.stored[PIXELS])
    assert len(train | test) == 16
    ours = {np.asarray(picture(number)).tobytes() for number in range(8)}
    assert {image.numpy().tobytes() for image in data.train.stored[PIXELS][data.train.labels == 1]} == ours & train


def test_the_split_follows_the_fraction(tmp_path: Path) -> None:
    fill(tmp_path, count=200)
    data = read(config(tmp_path, test_fraction=0.25))
    assert 70 < len(data.test) < 130  # four standard deviations of a binomial


def test_removing_an_image_moves_no_other_between_the_splits(tmp_path: Path) -> None:
    fill(tmp_path)
    before = read(config(tmp_path))
    gone = tmp_path / "a" / f"{PATIENT}_003.png"
    removed = np.asarray(Image.open(gone)).tobytes()
    gone.unlink()
    after = read(config(tmp_path))
    assert rows(after.train.stored[PIXELS]) == rows(before.train.stored[PIXELS]) - {removed}
    assert rows(after.test.stored[PIXELS]) == rows(before.test.stored[PIXELS]) - {removed}


def test_given_splits_are_kept(tmp_path: Path) -> None:
    fill(tmp_path / "train", 5)
    fill(tmp_path / "test", 2)
    data = read(config(tmp_path))
    assert (len(data.train), len(data.test)) == (10, 4)


def test_natural_sites_are_the_upper_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        fill(tmp_path / part / "north", 3)
        fill(tmp_path / part / "south", 2, classes=("b",))
    data = read(config(tmp_path))
    assert data.site_names == ("north", "south")
    assert data.train.sites is not None
    assert data.train.sites.tolist() == [0] * 6 + [1] * 2
    assert data.train.labels.tolist() == [0] * 3 + [1] * 5


def test_sites_without_given_splits(tmp_path: Path) -> None:
    fill(tmp_path / "north", 10)
    fill(tmp_path / "south", 10)
    data = read(config(tmp_path))
    assert data.site_names == ("north", "south")
    assert len(data.train) + len(data.test) == 40


def test_formats_modes_sizes_and_clutter(tmp_path: Path) -> None:
    fill(tmp_path)
    picture(1, (20, 30)).save(tmp_path / "a/x.JPG", format="JPEG")
    picture(2, (9, 9), "RGB").save(tmp_path / "a/y.jpeg")
    picture(3, (9, 9), "RGBA").save(tmp_path / "b/z.png")
    picture(4).convert("P").save(tmp_path / "b/palette.png", transparency=b"\x00\x10\x20")
    picture(5).convert("1").save(tmp_path / "b/bits.png")
    for clutter in (".hidden", "a/.DS_Store", "a/Thumbs.db", "README.txt"):
        (tmp_path / clutter).write_text("x")
    data = read(config(tmp_path, image_size=24, channels=3, fit="squash"))
    assert data.schema.size == 24
    assert data.train.stored[PIXELS].shape[1:] == (3, 24, 24)
    assert len(data.train) + len(data.test) == 21


def test_a_picture_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    image = Image.new("L", (16, 16))
    image.paste(255, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "test/a/000.png", exif=exif)
    upright = read(config(tmp_path)).test.stored[PIXELS][0, 0]
    assert (int(upright[0, 0]), int(upright[15, 0])) == (0, 255)


def test_missing_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.classes: is missing"):
        read(Folder(root=tmp_path))
    assert refusal(tmp_path / "nowhere") == f"folder '{tmp_path}/nowhere': is not a folder; correct data.root"


def test_folders_must_be_the_declared_classes(tmp_path: Path) -> None:
    assert "has no images" in refusal(tmp_path)
    fill(tmp_path)
    (tmp_path / "c").mkdir()
    assert refusal(tmp_path).startswith("folder 'c': is not one of a, b; remove it or correct data.classes")


def test_a_class_without_images_is_no_error(tmp_path: Path) -> None:
    fill(tmp_path)
    before = read(config(tmp_path, classes=("a", "b", "d")))
    assert before.schema.classes == ("a", "b", "d")
    (tmp_path / "d").mkdir()
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "b").mkdir()
    after = read(config(tmp_path, classes=("a", "b", "d")))
    assert after.schema == before.schema
    assert set(after.train.labels.tolist()) == {0}


def test_mixed_layouts_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    fill(tmp_path / "north")
    assert "folder 'a': has no class folders while others have" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "north")
    (tmp_path / "a" / PATIENT).mkdir()
    assert "class folder 'a': holds folders" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "c" / PATIENT).mkdir(parents=True)
    assert "folder 'c': is neither a declared class nor a site with class folders" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "c")
    picture(0).save(tmp_path / f"{PATIENT}.png")
    assert "holds images outside of a class folder" in refusal(tmp_path)


def test_folders_below_a_class_of_a_site_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "north")
    (tmp_path / "north/a" / PATIENT).mkdir()
    assert "image 1 of class 'a' of site 'north', in name order: is not a .png" in refusal(tmp_path)


def test_splits_must_come_together(tmp_path: Path) -> None:
    fill(tmp_path / "train/north")
    assert "has only one of 'train' and 'test'" in refusal(tmp_path)
    fill(tmp_path / "test/south")
    fill(tmp_path / "other")
    assert "folder 'other': is not one of test, train" in refusal(tmp_path)


def test_a_site_may_have_images_in_one_split_only(tmp_path: Path) -> None:
    """As after the last of its patients in the other has withdrawn."""
    fill(tmp_path / "train/north")
    fill(tmp_path / "test/south")
    (tmp_path / "train/south").mkdir()
    data = read(config(tmp_path))
    assert data.site_names == ("north", "south")
    assert data.train.sites is not None
    assert data.test.sites is not None
    assert (set(data.train.sites.tolist()), set(data.test.sites.tolist())) == ({0}, {1})


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_images_is_refused_only_where_one_is_needed(tmp_path: Path, empty: str) -> None:
    for split in ("train", "test"):
        fill(tmp_path / split)
    for name in ("a", "b"):
        shutil.rmtree(tmp_path / empty / name)
    assert "has too few records for two splits" in refusal(tmp_path)
    found = read(config(tmp_path), may_be_empty=True)
    gone, left = (found.train, found.test) if empty == "train" else (found.test, found.train)
    assert (len(gone), len(left)) == (0, 16)
    assert gone.stored[PIXELS].shape[1:] == left.stored[PIXELS].shape[1:]


def test_too_few_images_for_a_split(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    assert "has too few records for two splits" in refusal(tmp_path, test_fraction=1e-9)


@pytest.mark.parametrize("name", [f"{PATIENT}_003.png", f"{PATIENT}_000.png"])
def test_corrupt_images_are_named_by_class_and_position(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    path = tmp_path / "a" / name
    good, jpeg = path.read_bytes(), io.BytesIO()
    picture(0).save(jpeg, format="JPEG")
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 1
    for content in (b"", b"hello", good[:60], good[:-20], bytes(flipped), jpeg.getvalue(), b"GIF89a" + bytes(40)):
        path.write_bytes(content)
        position = 1 + int(path.stem[-1])
        problem = "is corrupt or not what its suffix says; replace or remove it"
        assert refusal(tmp_path) == f"image {position} of class 'a', in name order: {problem}"


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    buffer = io.BytesIO()
    picture(0).save(buffer, format="JPEG")
    (tmp_path / "b/~.jpg").write_bytes(buffer.getvalue()[:-100])
    assert "image 9 of class 'b', in name order: is corrupt" in refusal(tmp_path)


def test_other_files_and_non_files_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    other = tmp_path / "a" / f"{PATIENT}.nii.zip"
    other.write_bytes(b"x")
    known = ".png, .jpg, .jpeg, .tif, .tiff, .dcm, .nii or .nii.gz"
    problem = f"is not a {known} file; remove, rename or convert it"
    assert f"image 1 of class 'a', in name order: {problem}" in refusal(tmp_path)
    other.unlink()
    os.mkfifo(tmp_path / "a/0.png")
    assert "image 1 of class 'a', in name order: is not a file" in refusal(tmp_path)


def test_sizes_must_agree_or_be_set(tmp_path: Path) -> None:
    fill(tmp_path)
    picture(0, (18, 18)).save(tmp_path / "b/~.png")
    assert "data.image_size" in refusal(tmp_path)
    assert read(config(tmp_path, image_size=16)).schema.size == 16


def test_an_image_that_is_not_square_needs_a_rule(tmp_path: Path) -> None:
    fill(tmp_path)
    picture(0, (16, 18)).save(tmp_path / "b/~.png")
    problem = "image 9 of class 'b', in name order: is 16 x 18 pixels, not square; set data.fit to pad"
    assert problem in refusal(tmp_path)
    assert problem in refusal(tmp_path, image_size=16)
    for fit in ("pad", "crop", "squash"):
        assert read(config(tmp_path, image_size=16, fit=fit)).schema.size == 16
    assert read(config(tmp_path, fit="crop")).schema.size == 16
    assert "differs in size from the others" in refusal(tmp_path, fit="pad")
    assert "is 16 x 18 pixels, not square with 8 to 256; set data.image_size" in refusal(tmp_path, fit="squash")


def test_size_mismatch_within_a_split_names_the_image(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    picture(0, (18, 18)).save(tmp_path / "train/b/~.png")
    assert "image 9 of class 'b', in name order: differs in size from the others" in refusal(tmp_path)


def test_grey_and_colour_must_not_be_mixed_unless_set(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    picture(0, mode="RGB").save(tmp_path / "train/b/~.png")
    assert "image 9 of class 'b', in name order: is grey and others are colour, or the reverse" in refusal(tmp_path)
    assert read(config(tmp_path, channels=1)).schema.channels == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("0.png", np.uint16), ("0.tif", np.uint16), ("0.tif", np.int32), ("0.TIFF", np.float32)]
)
def test_deep_grey_needs_a_window(tmp_path: Path, name: str, kind: type) -> None:
    for split in ("train", "test"):
        fill(tmp_path / split, 1)
    values = np.arange(256).reshape(16, 16)
    Image.fromarray(values.astype(kind)).save(tmp_path / "train/a" / name)
    said = refusal(tmp_path)
    assert "image 1 of class 'a', in name order: has values that need a public window" in said
    found = read(config(tmp_path, window={"centre": 100, "width": 51})).train.stored[PIXELS]
    expected = np.round(np.clip((values - 100) / 51 * 255 + 127.5, 0, 255))
    assert np.array_equal(found[0, 0].numpy(), expected)
    assert np.array_equal(found[1, 0].numpy(), np.asarray(picture(0)))  # values of 8 bits are taken as they are


def test_tiff_of_8_bits_is_read_as_png_is(tmp_path: Path) -> None:
    fill(tmp_path)
    before = read(config(tmp_path))
    for path in list(tmp_path.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".tif"), compression="tiff_lzw")
        path.unlink()
    after = read(config(tmp_path))
    both = [rows(part.stored[PIXELS]) for data in (before, after) for part in (data.train, data.test)]
    assert both[0] | both[1] == both[2] | both[3]


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    for limit in (100, 200, 10_000):  # Pillow's own error, its warning, and our limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        monkeypatch.setattr(image_files, "MOST_PIXELS", 200)
        assert "has too many pixels" in refusal(tmp_path)


def test_links_must_stay_inside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(root)
    fill(outside)
    link = root / "a/0.png"
    link.symlink_to(outside / "a" / f"{PATIENT}_000.png")
    assert "image 1 of class 'a', in name order: is a link that leaves data.root" in refusal(root)
    link.unlink()
    link.symlink_to(root / "a" / f"{PATIENT}_000.png")
    assert len(read(config(root)).train) > 0
    link.unlink()
    link.symlink_to(link)
    assert "cannot be read" in refusal(root)
    shutil.rmtree(root / "a")
    (root / "a").symlink_to(outside / "a")
    assert "folder 'a': is a link that leaves data.root" in refusal(root)
    linked = tmp_path / "linked"
    shutil.rmtree(outside / "b")
    fill(tmp_path / "real")
    linked.symlink_to(tmp_path / "real")
    assert len(read(config(linked)).train) > 0


# --- patients --------------------------------------------------------------------------------------------------------


def with_manifest(root: Path, per_patient: int = 4, **keys: object) -> Folder:
    """The folder's configuration, and a manifest in which so many images that follow each other are one patient's."""
    files = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    lines = [f"{path},{PATIENT}_{number // per_patient}" for number, path in enumerate(files)]
    (root / "patients.csv").write_text("\n".join(["file,patient", *lines]))
    return config(root, patients=root / "patients.csv", **keys)


def test_a_manifest_says_whose_each_image_is(tmp_path: Path) -> None:
    fill(tmp_path / "train", 6)
    fill(tmp_path / "test", 4)
    data = read(with_manifest(tmp_path))  # the files of `test` come first, and end with a patient
    assert data.train.patients is not None
    assert data.test.patients is not None
    assert data.train.patients.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.test.patients.tolist() == [0] * 4 + [1] * 4


def test_without_a_manifest_nobody_knows_whose_an_image_is(tmp_path: Path) -> None:
    fill(tmp_path)
    assert read(config(tmp_path)).train.patients is None


def test_no_patient_is_split(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    data = read(with_manifest(tmp_path, per_patient=5))
    sizes = [part.patients.bincount().tolist() for part in (data.train, data.test) if part.patients is not None]
    assert sizes[0]
    assert sizes[1]
    assert set(sizes[0] + sizes[1]) == {5}
    assert len(sizes[0] + sizes[1]) == 16


def test_removing_a_patient_moves_no_other_between_the_splits(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    whole = read(with_manifest(tmp_path))
    manifest = tmp_path / "patients.csv"
    lines = manifest.read_text().splitlines()
    gone = [line.split(",")[0] for line in lines if line.endswith("_3")]
    removed = {np.asarray(Image.open(tmp_path / name)).tobytes() for name in gone}
    for name in gone:
        (tmp_path / name).unlink()
    manifest.write_text("\n".join(line for line in lines if not line.endswith("_3")))
    rest = read(config(tmp_path, patients=manifest))
    assert rows(rest.train.stored[PIXELS]) == rows(whole.train.stored[PIXELS]) - removed
    assert rows(rest.test.stored[PIXELS]) == rows(whole.test.stored[PIXELS]) - removed


def test_a_patient_at_two_sites_is_in_one_split(tmp_path: Path) -> None:
    for site in ("north", "south"):
        fill(tmp_path / site, 20)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    manifest = tmp_path / "patients.csv"  # by number: each patient has two images at either site
    manifest.write_text("\n".join(["file,patient", *(f"{path},{path.name}" for path in files)]))
    data = read(config(tmp_path, patients=manifest))
    for part in (data.train, data.test):
        assert part.patients is not None
        assert set(part.patients.bincount().tolist()) == {4}


def test_a_patient_in_both_given_splits_is_refused_without_a_name(tmp_path: Path) -> None:
    fill(tmp_path / "train", 6)
    fill(tmp_path / "test", 3)
    keys = with_manifest(tmp_path).model_dump(include={"patients"})
    said = refusal(tmp_path, **keys)
    assert said.startswith("image 2 of class 'b', in name order: is in the test split, but its patient is also in the")


@pytest.mark.parametrize("name", ["a/{}_003.png", "a/{}_000.png"])
def test_an_image_without_a_line_is_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    keys = with_manifest(tmp_path).model_dump(include={"patients"})
    manifest, left_out = tmp_path / "patients.csv", name.format(PATIENT)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if not line.startswith(left_out)))
    position = 1 + int(Path(name).stem[-1])
    wanted = f"image {position} of class 'a', in name order: has no line in manifest 'patients.csv'; add one"
    assert refusal(tmp_path, **keys) == wanted


@pytest.mark.parametrize("name", [f"a/{PATIENT}_999.png", f"../{PATIENT}.png", f"/a/{PATIENT}_000.png", "patients.csv"])
def test_a_line_for_a_file_that_is_not_there_counts_for_nothing(tmp_path: Path, name: str) -> None:
    """A patient withdrew, and the manifest was not exported anew."""
    fill(tmp_path)
    data = with_manifest(tmp_path)
    before = read(data)
    with (tmp_path / "patients.csv").open("a") as file:
        file.write(f"\n{name},{PATIENT}")
    after = read(data)
    assert after.train.stored[PIXELS].equal(before.train.stored[PIXELS])
    assert after.train.patient_names == before.train.patient_names
