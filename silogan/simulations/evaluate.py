"""`silogan evaluate`: compares a run's generator, or a file or folder of synthetic records, with real records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silogan.client.data import DataSet, medmnist, read
from silogan.client.data.positions import load_positions
from silogan.common.config.scenario import Evaluation, Scenario, load_scenario, parse_data
from silogan.common.device import choose_device
from silogan.common.errors import UsageError
from silogan.common.modality import Data, Schema, Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.masked import MaskedSchema
from silogan.common.modality.table import TableSchema
from silogan.common.models.networks import Generator
from silogan.common.models.networks.gaussians import ClassGaussians
from silogan.common.progress import begin, begin_part
from silogan.common.rows_file import SUFFIXES
from silogan.common.seeding import seeded_generator
from silogan.common.wire.run_folder import GENERATOR_FILE, PARTITION_FILE, holds_run
from silogan.common.wire.study import Study
from silogan.server.evaluation import EVALUATORS, Comparison, Labelled
from silogan.server.evaluation.memorisation import memorisation
from silogan.server.release.generator import ReleasedGenerator, load_generator, together
from silogan.server.report.verdict import Verdict
from silogan.simulations.shipped import names, scenario_file
from silogan.simulations.synthetic_images import read_images
from silogan.simulations.synthetic_joint import read_joint
from silogan.simulations.synthetic_masks import read_masked
from silogan.simulations.synthetic_rows import read_rows

EVALUATION_SEED = 0


def evaluate(synthetic: Path, real: Path | None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Utility and fidelity figures.

    Args:
        synthetic: a run folder, a folder of PNG by class, an NPZ file, or rows as CSV or Parquet.
        real: the scenario, by its path or by the name of one of ours, or the run folder that says where the real
            records are and what they mean. Of images alone also where the real ones are: a MedMNIST-like `.npz`,
            a folder that holds `MNIST/raw` or `FashionMNIST/raw`, or a folder of images by class. A run folder knows
            its own source; then `real` only says where that lies, and may be left out.
        overrides: changes of the scenario that `real` is, as `section.key=value`.

    Raises:
        UsageError, ConfigError, DataError: the records cannot be found or do not belong together.
    """
    begin("measuring", "reading the data")
    rows = synthetic.is_file() and synthetic.suffix.lower() in SUFFIXES
    file = None if real is None else _scenario_file(real, rows=rows)
    if overrides and (file is None or holds_run(synthetic)):
        raise UsageError("--set", "changes a scenario", "give drawn records, and --real SCENARIO.yaml")
    if real is not None and file is None and not real.exists():
        raise UsageError(f"--real {real}", "does not exist", "correct the path of the real data")
    if holds_run(synthetic):
        study = Study.load(synthetic)
        data = study.scenario.data if real is None else study.scenario.data.model_copy(update={"root": real})
        generator = load_generator(synthetic / GENERATOR_FILE)
        held = with_hospitals(read(data), study, synthetic)
        return measure_generator(generator, held, study.scenario.evaluation, study.scenario.training.device)
    if real is None:
        hint = "name the scenario of the real rows, or a run folder" if rows else "give the path of the real images"
        raise UsageError("--real", "is missing", hint)
    if file is not None or holds_run(real):
        scenario, data = _of_run(real) if file is None else _of_scenario(load_scenario(file, overrides))
        records, labels = _records(synthetic, real, data.schema, rows=rows)
        return figures_of(records, labels, data, scenario.evaluation, scenario.training.device)
    if rows:
        hint = "give the scenario (.yaml) of the real rows, or a run folder"
        raise UsageError(f"--real {real}", "does not say what the columns mean", hint)
    images = read_images(synthetic)
    data = read(_guess(real, images.pixels, images.classes, ordered=synthetic.is_file()))
    settings = Evaluation(samples=len(images.pixels))
    return figures_of({PIXELS: images.pixels}, images.labels_in(data.schema.classes), data, settings, "auto")


def _scenario_file(real: Path, *, rows: bool) -> Path | None:
    """The scenario that `real` is, by its path or by the name of one of ours; None where it is something else."""
    named = not real.exists() and (rows or str(real) in names())  # else it is a place of real images
    return scenario_file(real) if named or real.suffix.lower() in (".yaml", ".yml") else None


def _of_run(run_dir: Path) -> tuple[Scenario, DataSet]:
    study = Study.load(run_dir)
    return study.scenario, with_hospitals(read(study.scenario.data), study, run_dir)


def _of_scenario(scenario: Scenario) -> tuple[Scenario, DataSet]:
    return scenario, read(scenario.data)


def _records(synthetic: Path, real: Path, schema: Schema, *, rows: bool) -> tuple[Stored, Tensor | None]:
    """The records that are measured against real ones of this schema, with their labels."""
    if rows != isinstance(schema, TableSchema):
        problem = f"is of {schema.noun}, not of {'table rows' if rows else 'images'}"
        raise UsageError(f"--real {real}", problem, f"give that of {'a table' if rows else 'images'}")
    if isinstance(schema, TableSchema):
        return read_rows(synthetic, schema)
    if isinstance(schema, JointSchema):
        return read_joint(synthetic, schema)
    if isinstance(schema, MaskedSchema):
        return read_masked(synthetic, schema)
    images = read_images(synthetic)
    return {PIXELS: images.pixels}, images.labels_in(schema.classes)


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
        detail = network.detail if isinstance(network, ClassGaussians) else None
        asked = asked._replace(classify=network.classify, baselines=network.baselines(), detail=detail)
    figures = EVALUATORS[data.schema.kind](asked)
    figures |= {"memorisation": memorisation(asked, figures)}
    reason = None if labels is not None else f"the generator draws {data.schema.noun} without a class"
    if records is None:
        reason = f"the release is a classifier alone: there were too few {data.schema.noun} to draw more"
    figures = {"utility_reason": reason, **figures}
    return {**figures, "verdict": Verdict.of_figures(figures, data.schema.num_classes).to_json()}


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
    if real.is_file():
        hint = "give a folder of images by class, or an .npz file"
        raise UsageError(f"--real {real}", "is no data of images", hint)
    for folder, source in (("MNIST", "mnist"), ("FashionMNIST", "fashion-mnist")):
        if (real / folder / "raw").is_dir():
            return parse_data({"source": source, **shape})
    return parse_data({"source": "folder", "classes": classes, **shape})
