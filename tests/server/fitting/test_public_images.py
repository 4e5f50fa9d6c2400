"""Public images are read from a folder or a file, identified, and refused in one line where they are no images."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import DataError, SiloganError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Gaussians, Public
from silogan.server.fitting import public_images
from silogan.server.fitting.public_images import as_in, fingerprint, read_public, with_public

SHAPE, SCHEMA = (1, 8, 8), ImageSchema(8, 1, ("a", "b"))
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 16), np.uint8)


def public(path: Path, **keys: Any) -> Public:
    return Public.model_validate({"path": path, **keys})


def scenario(path: Path, **keys: Any) -> Any:
    model = {"family": "gaussians", "frequencies": 4, "public": {"path": str(path), **keys}}
    return parse_scenario({"name": "public", "model": model, "training": {"rounds": 0}})


def refusal(path: Path, **keys: Any) -> str:
    with pytest.raises(SiloganError) as caught:
        read_public(public(path, **keys), SHAPE)
    assert isinstance(caught.value, DataError)
    assert all((caught.value.thing, caught.value.problem, caught.value.hint))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of five grey pictures, two of them in a folder below, beside their licence."""
    root = tmp_path / "open-xrays"
    (root / "more").mkdir(parents=True)
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(root / ("more" if number > 2 else ".") / f"{number}.png")
    (root / "LICENCE.txt").write_text("CC0")
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "open-xrays.npz"
    np.savez_compressed(path, images_16=PIXELS, train_images=PIXELS[:2], source=np.array(["here"]))
    return path


def test_a_folder_and_a_file_give_the_same_images_at_twice_the_size(folder: Path, archive: Path) -> None:
    found = read_public(public(archive, array="images_16"), SHAPE)
    assert torch.equal(found, torch.from_numpy(PIXELS).unsqueeze(1))
    assert torch.equal(read_public(public(folder), SHAPE), found)
    assert len(read_public(public(archive), SHAPE)) == 2


def test_colour_and_size_become_those_of_the_study(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg")
    Image.fromarray(PIXELS[0]).save(tmp_path / "b.png")
    assert "public image 'a.jpg': is 20 x 30 pixels, not square; set model.public.fit to pad" in refusal(tmp_path)
    for fit in ("pad", "crop", "squash"):
        assert read_public(public(tmp_path, fit=fit), (3, 12, 12)).shape == (2, 3, 24, 24)
        assert read_public(public(tmp_path, fit=fit), (1, 12, 12)).shape == (2, 1, 24, 24)


def test_of_too_many_those_are_taken_that_lie_evenly_spaced(
    folder: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_images, "pool_size", lambda _shape: 2)
    wanted = torch.from_numpy(PIXELS[[0, 2]]).unsqueeze(1)
    assert torch.equal(read_public(public(archive, array="images_16"), SHAPE), wanted)
    assert torch.equal(read_public(public(folder), SHAPE), wanted)


def test_a_study_says_which_they_are_and_others_are_refused(folder: Path, archive: Path) -> None:
    named = with_public(scenario(folder, licence="CC0"), SCHEMA).model.public
    assert named.path == folder
    assert named.sha256 == fingerprint(torch.from_numpy(PIXELS).unsqueeze(1))
    assert read_public(named, SHAPE).shape == (5, 1, 16, 16)
    assert "are not those of model.public.sha256" in refusal(archive, sha256=named.sha256)
    (folder / "0.png").unlink()
    assert "are not those of model.public.sha256" in refusal(folder, sha256=named.sha256)


def test_a_path_becomes_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert with_public(scenario(Path(folder.name)), SCHEMA).model.public.path == folder


def test_a_study_that_goes_on_needs_no_images(folder: Path) -> None:
    study = with_public(scenario(folder), SCHEMA)
    other = scenario(folder.parent / "elsewhere")
    assert as_in(study, scenario(folder)) == study
    assert as_in(study, other).model.public.path == folder.parent / "elsewhere"
    assert as_in(study, scenario(folder, sha256="0" * 64)).model.public.sha256 == "0" * 64
    plain = parse_scenario({"name": "public"})
    assert as_in(study, plain) == plain
    assert with_public(plain, SCHEMA) == plain


def test_a_released_generator_names_the_images_but_no_folder(folder: Path) -> None:
    model = with_public(scenario(folder, licence="CC0"), SCHEMA).model
    assert isinstance(model, Gaussians)
    assert str(folder.parent) not in model.released().model_dump_json()
    assert model.credit() == "fine detail copied from public images 'open-xrays' (licence: CC0)"
    assert "(licence not stated)" in str(scenario(folder).model.credit())
    assert model.model_copy(update={"draws": False}).credit() is None


def test_what_is_missing_or_empty_is_named(tmp_path: Path, archive: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for missing in ("gone", "pipe"):
        assert f"public images '{missing}': are neither a folder nor a file in" in refusal(tmp_path / missing)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no image")
    assert "public images 'empty': are none: the folder holds no .png, .jpg, .jpeg file" in refusal(tmp_path / "empty")
    message = refusal(archive, array="images")
    assert "is not in the file; set model.public.array to one of images_16, train_images, source" in message


def test_pictures_that_are_none_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "more/9.png").write_bytes(b"\x89PNG hostile")
    assert "public image 'more/9.png': is corrupt or not what its suffix says" in refusal(folder)
    (folder / "more/9.png").unlink()
    Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(folder / "deep.png")
    assert "has values that need a public window" in refusal(folder)
    monkeypatch.setattr(public_images, "MOST_FILES", 3)
    assert "are more than 3" in refusal(folder)


def stored(array: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def claiming(shape: str) -> bytes:
    """An array file that claims a shape, and holds 64 bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (stored(PIXELS.astype(np.float32)), "holds float32 values of 3 dimensions"),
        (stored(PIXELS[0]), "holds uint8 values of 2 dimensions"),
        (stored(PIXELS[:, None, :, :2].transpose(0, 1, 3, 2)[:0]), "values of 4 dimensions"),
        (stored(PIXELS[:0]), "holds no images"),
        (stored(np.array([{}], dtype=object)), "holds object values"),
        (claiming("(1, 8, 9)"), "is truncated, or longer than it says"),
        (claiming("(1, 8, 7)"), "is truncated, or longer than it says"),
        (claiming("(10**15, 8, 8)"), "is truncated, corrupt"),
        (claiming("(1000000000000000, 8, 8)"), "is truncated, or longer than it says"),
        (claiming("(-1, 8, 8)"), "is truncated"),
        (claiming("(-1, -8, 8)"), "is truncated"),
        (b"\x93NUMPY\x01\x00", "is truncated, corrupt"),
        (b"", "is truncated, corrupt"),
    ],
)
def test_hostile_arrays_are_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "hostile.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train_images.npy", content)
    assert problem in refusal(path)


def test_an_array_is_not_unpacked_beyond_a_limit(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_images, "MOST_BYTES", 100)
    assert "is larger than" in refusal(archive)


@pytest.mark.parametrize("cut", [lambda whole: whole[:-30], lambda whole: whole[:40], lambda _: b"", lambda _: b"no"])
def test_damaged_files_are_refused(archive: Path, cut: Callable[[bytes], bytes]) -> None:
    archive.write_bytes(cut(archive.read_bytes()))
    assert "is truncated, corrupt or not in an .npz file" in refusal(archive)
