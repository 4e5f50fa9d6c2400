"""`silogan evaluate`: compares a run's generator, or a file or folder of synthetic records, with real records."""

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from silogan.client.data import DataSet, medmnist, read
from silogan.client.data.arrays import SIZES
from silogan.client.data.positions import load_positions
from silogan.common.config.scenario import Evaluation, load_scenario, parse_data
from silogan.common.device import choose_device
from silogan.common.errors import DataError, UsageError
from silogan.common.modality import Data, Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Folder
from silogan.common.modality.table import TableSchema
from silogan.common.models.networks import Generator
from silogan.common.progress import begin, begin_part
from silogan.common.seeding import seeded_generator
from silogan.common.wire.run_folder import GENERATOR_FILE, PARTITION_FILE, holds_run
from silogan.common.wire.study import Study
from silogan.server.evaluation import EVALUATORS, Comparison, Labelled
from silogan.server.release.generator import ReleasedGenerator, load_generator, together
from silogan.server.release.outputs.image import UNLABELLED
from silogan.simulations.synthetic_rows import SUFFIXES, read_rows

EVALUATION_SEED = 0


def evaluate(synthetic: Path, real: Path | None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Utility and fidelity figures.

    Args:
        synthetic: a run folder, a folder of PNG by class, an NPZ file, or rows as CSV or Parquet.
        real: where the real images are: a MedMNIST-like `.npz`, a folder that holds `MNIST/raw` or `FashionMNIST/raw`,
            or a folder of images by class. Of rows, the scenario or the run folder that says where the real ones are,
            and what their columns mean. A run folder knows its own source; then `real` only says where that lies, and
            may be left out.
        overrides: changes of the scenario that `real` is, as `section.key=value`.

    Raises:
        UsageError, ConfigError, DataError: the records cannot be found or do not belong together.
    """
    begin("measuring", "reading the data")
    rows = synthetic.is_file() and synthetic.suffix.lower() in SUFFIXES
    if overrides and not (rows and real is not None and real.is_file()):
        raise UsageError("--set", "changes a scenario", "give rows, and --real SCENARIO.yaml")
    if holds_run(synthetic):
        study = Study.load(synthetic)
        data = study.scenario.data if real is None else study.scenario.data.model_copy(update={"root": real})
        generator = load_generator(synthetic / GENERATOR_FILE)
        held = with_hospitals(read(data), study, synthetic)
        return measure_generator(generator, held, study.scenario.evaluation, study.scenario.training.device)
    if real is None:
        hint = "name the scenario of the real rows, or a run folder" if rows else "give the path of the real images"
        raise UsageError("--real", "is missing", hint)
    if rows:
        return _evaluate_rows(synthetic, real, overrides)
    images, labels, classes = _read_npz(synthetic) if synthetic.is_file() else _read_folder(synthetic)
    data = read(_guess(real, images, classes, ordered=synthetic.is_file()))
    if labels is not None:
        labels = _recoded(labels, classes, data.schema.classes)
    return figures_of({PIXELS: images}, labels, data, Evaluation(samples=len(images)), "auto")


def _evaluate_rows(synthetic: Path, real: Path, overrides: list[str] | None) -> dict[str, Any]:
    """Figures of a file of rows against the real rows of a scenario, or of a run."""
    if holds_run(real):
        study = Study.load(real)
        scenario, data = study.scenario, with_hospitals(read(study.scenario.data), study, real)
    elif real.suffix.lower() in (".yaml", ".yml"):
        scenario = load_scenario(real, overrides)
        data = read(scenario.data)
    else:
        hint = "give the scenario (.yaml) of the real rows, or a run folder"
        raise UsageError(f"--real {real}", "does not say what the columns mean", hint)
    if not isinstance(data.schema, TableSchema):
        raise UsageError(f"--real {real}", f"is of {data.schema.noun}, not of table rows", "give that of a table")
    return figures_of(*read_rows(synthetic, data.schema), data, scenario.evaluation, scenario.training.device)


def with_hospitals(data: DataSet, study: Study, run_dir: Path) -> DataSet:
    """The data with the simulated hospital of each training record, as the run's partition says.

    Unchanged if the run has no partition, as that of real hospitals, or if it is one of other data.

    Raises:
        DataError: the partition is corrupt.
    """
    path = run_dir / PARTITION_FILE
    if not path.is_file():
        return data
    parts = [load_positions(path, site) for site in range(len(study.sites))]
    if sum(map(len, parts)) != len(data.train) or max(part[-1] for part in parts) >= len(data.train):
        return data
    sites = torch.zeros(len(data.train), dtype=torch.int64)
    for site, part in enumerate(parts):
        sites[torch.from_numpy(part)] = site
    names = tuple(site.name for site in study.sites)
    return replace(data, train=replace(data.train, sites=sites), site_names=names)


def measure_generator(generator: ReleasedGenerator, data: DataSet, settings: Evaluation, device: str) -> dict[str, Any]:
    """Figures of freshly drawn records, the same ones at every call; of its classifier alone if it draws none."""
    if not generator.network.draws:
        return figures_of(None, None, data, settings, device, generator.network)
    begin_part("drawing")
    drawn = together(generator.draw(settings.samples, seeded_generator(EVALUATION_SEED, "evaluation")))
    return figures_of(drawn.records, drawn.labels, data, settings, device, generator.network)


def figures_of(
    records: Stored | None,
    labels: Tensor | None,
    data: DataSet,
    settings: Evaluation,
    device: str,
    network: Generator | None = None,
) -> dict[str, Any]:
    """Figures of synthetic records with their labels int64[N], None of either if there are none.

    Args:
        records: what is measured.
        labels: theirs.
        data: the real records.
        settings: the scenario's.
        device: the name of where to compute.
        network: the generator, for the classifiers that it holds.
    """
    names = data.site_names or ()
    train = Labelled(data.train.stored, data.train.labels, data.train.sites if names else None)
    test = Labelled(data.test.stored, data.test.labels)
    how = settings, EVALUATION_SEED, choose_device(device)
    asked = Comparison(records, labels, train, test, data.schema, *how, site_names=names)
    if network is not None:
        asked = asked._replace(classify=network.classify, baselines=network.baselines())
    figures = EVALUATORS[data.schema.kind](asked)
    reason = None if labels is not None else f"the generator draws {data.schema.noun} without a class"
    if records is None:
        reason = f"the release is a classifier alone: there were too few {data.schema.noun} to draw more"
    return {"utility_reason": reason, **figures}


def _guess(real: Path, images: Tensor, classes: tuple[str, ...], *, ordered: bool) -> Data:
    """The source that `real` looks like, brought to the size and channels of the synthetic images.

    `ordered` says whether `classes` are in the order of the study's labels; folders of PNG are in that of their names.
    """
    shape = {"root": real, "image_size": images.shape[2], "channels": images.shape[1]}
    if real.suffix == ".npz":
        known = medmnist.set_name(real) in medmnist.CLASSES
        if not known and not ordered:
            hint = "evaluate the run folder, or generate with --format npz"
            raise UsageError(f"--real {real}", "has no class names to match with the class folders", hint)
        return parse_data({"source": "medmnist", "classes": None if known else classes, **shape})
    for folder, source in (("MNIST", "mnist"), ("FashionMNIST", "fashion-mnist")):
        if (real / folder / "raw").is_dir():
            return parse_data({"source": source, **shape})
    return parse_data({"source": "folder", "classes": classes, **shape})


def _recoded(labels: Tensor, own: tuple[str, ...], real: tuple[str, ...]) -> Tensor:
    """Labels by position in `own`, as positions in `real`: classes are the same where their names are."""
    for name in own:
        if name not in real:
            hint = f"give the real data of the same study, with {', '.join(real)}"
            raise DataError("synthetic images", f"have a class '{name}' that the real images do not have", hint)
    if not bool(((labels >= 0) & (labels < len(own))).all()):
        raise DataError("synthetic images", "have a label without a class name", "generate the images again")
    return torch.tensor([real.index(name) for name in own])[labels]


def _read_npz(path: Path) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """All images of a file; labels are positions in the class names, which are in the file as well."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            pixels, classes = archive["train_images"], tuple(str(name) for name in archive["classes"])
            labels = archive["train_labels"] if "train_labels" in archive.files else None
        # reshape refuses colour that is not RGB
        images = torch.from_numpy(pixels.reshape(*pixels.shape[:3], {3: 1, 4: 3}[pixels.ndim])).permute(0, 3, 1, 2)
        _, _, height, width = images.shape
        if pixels.dtype != np.uint8 or not len(images) or height != width or height not in SIZES:
            raise ValueError
        if labels is not None and (labels.dtype.kind not in "iu" or labels.size != len(images)):
            raise ValueError
        codes = None if labels is None else torch.from_numpy(labels.astype(np.int64).flatten())
        return images.contiguous(), codes, classes
    except (*(OSError, KeyError, ValueError, TypeError, EOFError), zipfile.BadZipFile, zlib.error, NotImplementedError):
        raise DataError(f"'{path}'", "is not a file written by silogan generate", "generate the file again") from None


def _read_folder(path: Path) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """All images of a folder by class; the class names are the folders' own, since synthetic images are public.

    Without labels where the only folder is that of images without a class.
    """
    classes = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))
    if not classes:
        raise DataError(f"'{path}'", "holds no class folders", "give the output of silogan generate")
    data = read(Folder(root=path, classes=classes))
    images = torch.cat((data.train.stored[PIXELS], data.test.stored[PIXELS]))
    labels = None if classes == (UNLABELLED,) else torch.cat((data.train.labels, data.test.labels))
    return images, labels, classes
