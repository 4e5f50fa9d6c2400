"""A description of a data set for machines: Croissant 1.0 with its vocabulary for responsible AI (MLCommons, 2024)."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from silogan.common.modality.table import Category, Column, TableSchema
from silogan.common.modality.table_grid import grid_of
from silogan.server.release.about import DIGITAL_SOURCE_TYPE, About
from silogan.server.release.manifest import sha256_of

CROISSANT_FILE = "croissant.json"

Node = dict[str, Any]

_CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{"sc": "https://schema.org/", "dct": "http://purl.org/dc/terms/", "cr": "http://mlcommons.org/croissant/"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}
"""The context that the specification prescribes."""


def croissant(about: About, distribution: Sequence[Node], record_sets: Sequence[Node]) -> bytes:
    """The description as JSON-LD.

    Args:
        about: what the data set says of itself.
        distribution: its files, see `file_object` and `file_set`.
        record_sets: what is in them, see `record_set`.
    """
    facts = about.facts()
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": about.title,
        "description": f"{facts['note']} {facts['SiloGAN']}. {about.schema.describe().capitalize()}.",
        "identifier": about.study_id,
        "version": "1.0.0",
        "dateCreated": about.created,
        **({"license": about.licence} if about.licence else {}),
        "citeAs": f"{about.title}, drawn with {facts['software']} on {about.created}",
        "creator": {"@type": "sc:Organization", "name": facts["software"]},
        "keywords": ["synthetic data", "differential privacy", *about.marks],
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "rai:dataCollection": f"{facts['note']} The generator is that of study {about.study_id}.",
        "rai:dataCollectionType": ["Synthetic"],
        "rai:personalSensitiveInformation": [f"No record is a patient's. Privacy: {facts['privacy']}"],
        "rai:dataLimitations": [f"Not for diagnosis. {'; '.join(about.marks) or 'No marks'}."],
        "distribution": list(distribution),
        "recordSet": list(record_sets),
    }
    return json.dumps(described, indent=2, ensure_ascii=False).encode() + b"\n"


def file_object(path: Path, name: str, mime: str) -> Node:
    """One file, with its hash.

    Args:
        path: where its content is now.
        name: where it will be, relative to the description.
        mime: its media type.
    """
    named = {"@type": "cr:FileObject", "@id": _iri(name), "name": name, "contentUrl": name, "encodingFormat": mime}
    return {**named, "contentSize": f"{path.stat().st_size} B", "sha256": sha256_of(path)}


def file_set(name: str, includes: str, mime: str) -> Node:
    """All files that a glob pattern matches; their hashes are in `SHA256SUMS`."""
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": includes, "encodingFormat": mime}


def record_set(name: str, fields: Iterable[Node]) -> Node:
    """Records with these fields, see `field`."""
    named = [{**one, "@id": f"{name}/{one['@id']}"} for one in fields]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": named}


def field(name: str, kind: str, source: str, extract: Node, transform: Node | None = None) -> Node:
    """A field of records.

    Args:
        name: of the field.
        kind: its type, as sc:Text.
        source: the file or set of files that it is in.
        extract: how it is found there, as {"column": NAME} or {"fileProperty": "content"}.
        transform: what is done to it then, as {"jsonPath": "bytes"}.
    """
    where = "fileSet" if "fileProperty" in extract else "fileObject"
    found: Node = {where: {"@id": _iri(source)}, "extract": extract}
    if transform is not None:
        found["transform"] = transform
    return {"@type": "cr:Field", "@id": _iri(name), "name": name, "dataType": kind, "source": found}


def columns(schema: TableSchema, source: str) -> Iterable[Node]:
    """The fields of a table's rows in a file of CSV or Parquet."""
    for column in schema.columns:
        yield field(column.name, _type(column), source, {"column": column.name})
    for name in (*(one.name for one in schema.code_sets), *([schema.label] if schema.label else ())):
        yield field(name, "sc:Text", source, {"column": name})


def _type(column: Column) -> str:
    if isinstance(column, Category):
        return "sc:Text"
    if column.date:
        return "sc:Date"
    return "sc:Float" if column.optional or grid_of(column).decimals else "sc:Integer"


def _iri(name: str) -> str:
    """A name as an identifier: those of columns and files may hold what an address may not."""
    return quote(name, safe="/")
