"""Evaluation of synthetic images with masks: the images as without masks, and segmenters that learnt from either.

All of it looks at real records and adds no noise, so it stands outside the privacy guarantee.
"""

from typing import Any, cast

import torch
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK, MaskedSchema
from silogan.common.progress import begin_part
from silogan.server.evaluation import evaluation
from silogan.server.evaluation.base import Comparison, Labelled
from silogan.server.evaluation.segmenter import best_constant, dice, segmented, train_segmenter


def evaluate(asked: Comparison) -> dict[str, Any]:
    """Measures synthetic records against real ones; the same arguments give the same result on a CPU.

    The release's own classifier sees an image with its mask, and is no classifier of images: it is not measured.

    Returns:
        What `silogan.server.evaluation.evaluation.evaluate` says of the images, and in `utility` the Dice (0 to 1) on
        the real test split of a segmenter that learnt from synthetic pairs (`dice_synthetic`), of one that learnt from
        real pairs (`dice_real`), and of the best mask that is the same for all images (`dice_blind`, by the masks of
        the real training split). None: nothing was drawn, no real reference was asked for, or all masks are empty.

    Raises:
        DataError: records or labels are missing, malformed or do not match each other.
    """
    schema = cast(MaskedSchema, asked.schema)
    for thing, stored in (("synthetic", asked.synthetic), ("train", asked.train.records), ("test", asked.test.records)):
        if stored is not None:
            _check_masks(f"masks of {thing} images", stored)
    figures = evaluation.evaluate(_images(asked, schema)).to_json()
    right = asked.test.records[MASK] > 0

    def learnt_from(what: str, stored: Stored) -> float | None:
        begin_part(f"segmenting, learnt from {what}")
        network = train_segmenter(stored[PIXELS], stored[MASK], seed=asked.seed, device=asked.device)
        return dice(segmented(network, asked.test.records[PIXELS]), right)

    taught, synthetic = asked.train.records, asked.synthetic
    found = {
        "dice_synthetic": None if synthetic is None else learnt_from("synthetic pairs", synthetic),
        "dice_real": learnt_from("real pairs", taught) if asked.settings.real_ceiling else None,
        "dice_blind": dice(best_constant(taught[MASK] > 0).expand_as(right), right),
    }
    return {**figures, "utility": {**figures["utility"], **found}}


def _check_masks(thing: str, stored: Stored) -> None:
    masks, pixels = stored[MASK], stored[PIXELS]
    if masks.dtype != torch.uint8 or masks.shape != (len(pixels), 1, *pixels.shape[2:]):
        raise DataError(thing, "do not match the images", "give one mask of the same size for each image")


def _images(asked: Comparison, schema: MaskedSchema) -> Comparison:
    """The same comparison of images alone."""

    def alone(stored: Stored) -> dict[str, Tensor]:
        return {PIXELS: stored[PIXELS]}

    train, test = (Labelled(alone(part.records), part.labels, part.sites) for part in (asked.train, asked.test))
    synthetic = None if asked.synthetic is None else alone(asked.synthetic)
    parts = {"synthetic": synthetic, "train": train, "test": test, "schema": schema.image}
    return asked._replace(**parts, classify=None, baselines={})
