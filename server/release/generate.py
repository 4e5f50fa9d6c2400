"""`silogan generate`: synthetic images from a finished run, as folders of PNG by class or as one NPZ."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from common.errors import ConfigError, UsageError
from common.files import write_bytes_atomically
from common.registry import lookup, nearest
from common.seeding import random_generator
from common.wire.run_folder import GENERATOR_FILE
from server.release.generator import ReleasedGenerator, load_generator

UNLABELLED = "images"

Writer = Callable[[Path, Tensor, Tensor | None, ReleasedGenerator], None]


def generate(
    run_dir: Path, *, count: int, out: Path, image_format: str, labels: tuple[str, ...] | None, seed: int | None
) -> tuple[str, ...]:
    """Draws images and writes them.

    Args:
        run_dir: folder of a finished run.
        count: number of images, spread evenly over the classes.
        out: a new or empty folder (png), or a file that does not exist (npz).
        image_format: a name in `FORMATS`.
        labels: class names to draw; all if None.
        seed: of the latent vectors; fresh if None.

    Returns:
        The marks that the images carry (seeded).

    Raises:
        UsageError: the labels or the output cannot be used.
        DataError: the run has no generator.
        PrivacyRefusal: the generator is NON-PRIVATE.

    Privacy:
        Post-processing of the released generator: drawing any number of images costs nothing more.
    """
    write = lookup(FORMATS, image_format, "--format")
    _require_free(out)
    generator = load_generator(run_dir / GENERATOR_FILE)
    chosen = _label_codes(generator, labels)
    codes = None if chosen is None else torch.tensor(chosen)[torch.arange(count) % len(chosen)]
    rng = random_generator(seed, "generate")
    images = generator.sample(codes, count, rng)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, images, codes, generator)
    except OSError as error:
        raise ConfigError(f"--out {out}", f"cannot be written ({error.strerror})", "choose another place") from None
    return generator.marks


def _write_png(out: Path, images: Tensor, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """`out/CLASS/000000.png`, every file marked as synthetic."""
    info = PngInfo()
    for keyword, text in generator.png_text().items():
        info.add_text(keyword, text)
    folders = [UNLABELLED] if labels is None else list(generator.schema.classes)
    for folder in folders:
        if folder in ("", "..") or "\0" in folder or Path(folder).name != folder:
            raise UsageError("--format png", f"class {folder!r} cannot be the name of a folder", "use npz")
    for code, folder in enumerate(folders):
        members = images if labels is None else images[labels == code]
        if not len(members):
            continue
        (out / folder).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(members.permute(0, 2, 3, 1).numpy()):
            picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
            picture.save(out / folder / f"{number:06d}.png", pnginfo=info)


def _write_npz(out: Path, images: Tensor, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """One file in the layout of MedMNIST: `train_images` [N, S, S] or [N, S, S, 3], `train_labels` [N, 1]."""
    pixels = images.permute(0, 2, 3, 1).numpy()
    arrays = {
        "train_images": pixels.squeeze(3) if pixels.shape[3] == 1 else pixels,
        "classes": np.array(generator.schema.classes),
        "marks": np.array(("synthetic", *generator.marks)),
        "study": np.array(generator.study_id),
    }
    if labels is not None:
        arrays["train_labels"] = labels.numpy()[:, None]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes_atomically(out, buffer.getvalue())


FORMATS: dict[str, Writer] = {
    "png": _write_png,
    "npz": _write_npz,
}


def _label_codes(generator: ReleasedGenerator, labels: tuple[str, ...] | None) -> list[int] | None:
    classes = generator.schema.classes
    if not generator.network.conditional:
        if labels is not None:
            raise UsageError("--labels", "this generator has no classes to choose from", "leave it out")
        return None
    if labels is None:
        return list(range(len(classes)))
    for label in labels:
        if label not in classes:
            close = nearest(label, classes)
            hint = f"did you mean '{close}'?" if close else f"use one of {', '.join(classes)}"
            raise UsageError("--labels", f"unknown class '{label}'", hint)
    return [classes.index(label) for label in labels]


def _require_free(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"--out {out}", "exists already", "choose a new place")
