"""Kinds of records: each is one line in `KINDS`, and one or two files here."""

from collections.abc import Mapping
from typing import Annotated, Any, Union

from pydantic import PlainValidator, SerializeAsAny, TypeAdapter

from silogan.common.bounds import Classes
from silogan.common.modality.base import Data, Features, Kind, Model, Schema, Stored
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import (
    Article,
    Dcgan,
    Digits,
    FashionMnist,
    Folder,
    Gaussians,
    MedMnist,
    Mnist,
)
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.joint_options import ImagesWithRows
from silogan.common.modality.masked import MaskedSchema
from silogan.common.modality.masked_options import ImagesWithMasks, Phantoms
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import BreastCancer, Mixture, Table
from silogan.common.section import variant

__all__ = ["KINDS", "AnyData", "AnyModel", "Data", "Features", "Kind", "Model", "Schema", "Stored", "parse_schema"]

KINDS: dict[str, Kind] = {
    "image": Kind(
        ImageSchema,
        {"digits": Digits, "mnist": Mnist, "fashion-mnist": FashionMnist, "medmnist": MedMnist, "folder": Folder},
        {"dcgan": Dcgan, "article": Article, "gaussians": Gaussians},
    ),
    "table": Kind(TableSchema, {"table": Table, "breast-cancer": BreastCancer}, {"mixture": Mixture}),
    "joint": Kind(JointSchema, {"images-with-rows": ImagesWithRows}, {"gaussians": Gaussians}),
    "masked": Kind(
        MaskedSchema, {"images-with-masks": ImagesWithMasks, "phantoms": Phantoms}, {"gaussians": Gaussians}
    ),
}


def _sources() -> dict[str, type[Data]]:
    return {name: options for kind in KINDS.values() for name, options in kind.sources.items()}


def _families() -> dict[str, type[Model]]:
    return {name: options for kind in KINDS.values() for name, options in kind.families.items()}


def _data(values: object) -> Any:
    return variant(_sources(), values, section="data", tag="source", default="digits")


def _model(values: object) -> Any:
    return variant(_families(), values, section="model", tag="family", default="dcgan")


AnyData = Annotated[SerializeAsAny[Data], PlainValidator(_data, json_schema_input_type=Union[*_sources().values()])]
"""The options of any source, told apart by `source`."""

AnyModel = Annotated[SerializeAsAny[Model], PlainValidator(_model, json_schema_input_type=Union[*_families().values()])]
"""The options of any family, told apart by `family`."""


def parse_schema(values: Mapping[str, Any]) -> Schema:
    """The schema that `Schema.to_plain` wrote.

    Raises:
        ValueError, TypeError, KeyError: a field is missing, unknown, or has a wrong type or value; or there are more
            classes than a study may have.
    """
    fields = dict(values)
    kind = KINDS[fields.pop("kind", ImageSchema.kind)]  # older registers know of images alone
    TypeAdapter(Classes).validate_python(fields["classes"])
    return kind.schema(**fields)
