"""Images are read with the mask of each; what does not fit is refused without a patient's file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from silogan.client.data import DataSet, read
from silogan.client.data.location import check_readable
from silogan.client.data.phantoms import drawn
from silogan.common.config.scenario import parse_data
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK
from silogan.common.modality.masked_options import CLASSES
from tests.masked import save, write_pairs

ONE = Path("nodule") / "P0000.png"


def options(folder: Path, count: int = 40) -> dict[str, Any]:
    return {"source": "images-with-masks", "classes": list(CLASSES), **write_pairs(folder, count)}


def pairs(found: DataSet) -> set[bytes]:
    """Each image with its mask, in either split."""
    return {*found.train.contents(), *found.test.contents()}


def test_each_image_has_its_own_mask(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    save(tmp_path / "masks" / "mass" / "withdrawn.png", np.ones((5, 9), np.uint8))
    found = read(parse_data(wanted))
    images, masks = drawn(40, 16, 0)
    assert found.schema.describe() == "images of 16x16 pixels, grey with masks"
    assert len(found.train) + len(found.test) == 40
    for part in (found.train, found.test):
        for pixels, mask in zip(part.stored[PIXELS].numpy(), part.stored[MASK].numpy(), strict=True):
            place = next(i for i, image in enumerate(images) if np.array_equal(image, pixels))
            assert np.array_equal(mask, masks[place])


def test_masks_may_lie_beside_the_images(tmp_path: Path) -> None:
    apart = read(parse_data(options(tmp_path)))
    for path in (tmp_path / "masks").rglob("*.png"):
        beside = tmp_path / "images" / path.relative_to(tmp_path / "masks")
        path.rename(beside.with_name(f"{path.stem}_seg.png"))
    wanted = {"source": "images-with-masks", "classes": list(CLASSES), "root": str(tmp_path / "images")}
    assert pairs(read(parse_data({**wanted, "mask_suffix": "_seg"}))) == pairs(apart)


def test_a_mask_may_have_another_format_and_other_values(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    expected = pairs(read(parse_data(wanted)))
    path = tmp_path / "masks" / ONE
    values = np.asarray(Image.open(path)).astype(np.uint16) * 700
    path.unlink()
    save(path.with_suffix(".TIF"), values)
    other = tmp_path / "masks" / "mass" / "P0001.png"
    save(other, np.asarray(Image.open(other)) * 7)
    assert pairs(read(parse_data(wanted))) == expected


def test_a_mask_becomes_square_and_small_as_its_image_does(tmp_path: Path) -> None:
    image, mask = np.full((20, 40), 90, np.uint8), np.zeros((20, 40), np.uint8)
    mask[:, 20:] = 3
    for number in range(4):
        image[0, 0] = number
        save(tmp_path / "images" / "a" / f"{number}.png", image)
        save(tmp_path / "masks" / "a" / f"{number}.png", mask)
    places = {"root": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    wanted = {"source": "images-with-masks", "classes": ["a"], "image_size": 10, "fit": "pad", **places}
    found = read(parse_data(wanted), may_be_empty=True)
    expected = torch.zeros(1, 10, 10, dtype=torch.uint8)
    expected[:, 2:7, 5:] = 255
    assert found.train.stored[MASK][0].equal(expected)


def test_slices_of_nifti_have_slices_of_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        volume = (rng.integers(-50, 50, (12, 12, 3)) * 10).astype(np.int16)
        for kind, values in (("images", volume), ("masks", (volume > 0).astype(np.int16) * 2)):
            path = tmp_path / kind / "a" / f"{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    places = {"root": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    deep = {"window": {"centre": 0, "width": 1000}, "slices": {"axis": 2}}
    found = read(parse_data({"source": "images-with-masks", "classes": ["a"], **places, **deep}))
    assert len(found.train) + len(found.test) == 24
    assert found.train.stored[MASK].gt(0).equal(found.train.stored[PIXELS] > 128)


def _remove(path: Path) -> None:
    path.unlink()


def _larger(path: Path) -> None:
    save(path, np.ones((16, 17), np.uint8))


def _corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def _second(path: Path) -> None:
    save(path.with_suffix(".tif"), np.ones((16, 16), np.uint8))


def _lossy(path: Path) -> None:
    path.unlink()
    save(path.with_suffix(".jpg"), np.ones((16, 16), np.uint8))


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "images" / ONE)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _bomb(path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_remove, "has no mask; add one, all 0 if empty (data.masks, data.mask_suffix)"),
        (_larger, "differs in size from its image; draw it on the image"),
        (_corrupt, "is corrupt or not what its suffix says"),
        (_second, "has several masks; keep one (data.masks, data.mask_suffix)"),
        (_lossy, "is JPEG, which changes values; export it as PNG"),
        (_link, "is not a file in the folder of masks; replace it by the file"),
        (_loop, "replace it by the file"),
        (_folder, "is not a file in the folder of masks; replace it by the file"),
        (_bomb, "has too many pixels; make it smaller"),
    ],
)
def test_masks_that_do_not_fit_are_refused(change: Callable[[Path], None], problem: str, tmp_path: Path) -> None:
    wanted = options(tmp_path)
    change(tmp_path / "masks" / ONE)
    with pytest.raises(DataError) as raised:
        read(parse_data(wanted))
    assert problem in str(raised.value)
    assert "image 1 of class 'nodule', in name order" in str(raised.value)
    assert "P0000" not in str(raised.value)


def test_masks_that_are_not_named_are_asked_for(tmp_path: Path) -> None:
    wanted = options(tmp_path, 10)
    with pytest.raises(DataError, match=r"is not a folder; correct data\.masks$"):
        read(parse_data({**wanted, "masks": str(tmp_path / "gone")}))
    del wanted["masks"]
    with pytest.raises(ConfigError, match=r"^data\.masks: is not given; name the folder"):
        read(parse_data(wanted))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_masks_that_cannot_be_opened_are_found_before_reading(tmp_path: Path) -> None:
    wanted = options(tmp_path, 10)
    (tmp_path / "masks" / ONE).chmod(0)
    with pytest.raises(DataError, match=r"^data\.masks '.*masks': cannot be read"):
        check_readable(parse_data(wanted))


def test_a_folder_of_masks_that_went_away_is_found_before_reading(tmp_path: Path) -> None:
    wanted = options(tmp_path, 10)
    check_readable(parse_data(wanted))
    (tmp_path / "masks").rename(tmp_path / "other")
    with pytest.raises(DataError, match=r"^data\.masks '.*masks': is not there"):
        check_readable(parse_data(wanted))
