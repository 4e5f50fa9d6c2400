"""Synthetic images as DICOM: one Secondary Capture image a file (DICOM PS3.3, A.8.1), a series a class.

No attribute is a patient's, and none that has a clinical meaning is made up: those that the standard wants are empty.
"""

from collections.abc import Iterable
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from silogan import __version__
from silogan.common.errors import UsageError
from silogan.common.libraries import library
from silogan.common.models.networks import Drawn
from silogan.server.release.about import About
from silogan.server.release.arrays import images_of
from silogan.server.release.croissant import file_set
from silogan.server.release.outputs.image_folder import Layout, Pixels, Save, write_by_class

_LOADING = """
import pydicom
image = pydicom.dcmread("CLASS/000000.dcm")
image.SyntheticData, image.pixel_array  # YES, uint8[S, S] or [S, S, 3]
"""
DICOM = Layout("dicom", ".dcm", _LOADING, ([file_set("images", "*/*.dcm", "application/dicom")], []))

_LONGEST_TEXT, _LONGEST_STRING = 10_240, 64
"""Characters of a text LT and of a string LO (PS3.5, table 6.2-1)."""


def write_dicom(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """`out/CLASS/000000.dcm`; Synthetic Data (0008,001C) is YES in every file."""
    library("pydicom", "dicom", f"--format {DICOM.file_format}")
    for name in about.schema.classes:
        if "\\" in name or len(name) > _LONGEST_STRING:
            problem = f"class {name!r} cannot be the description of a series"
            raise UsageError(
                f"--format {DICOM.file_format}", problem, f"use a name of {_LONGEST_STRING} characters without \\"
            )
    parts = iter(drawn)
    first = next(parts)
    study = uid(*about.facts().values(), images_of(first.records)[0].tobytes())
    write_by_class(out, chain([first], parts), about, DICOM, saver(about, study))


def saver(about: About, study: str) -> Save:
    """Writes one image, whose study has this UID."""
    series: dict[str, Any] = {}

    def save(path: Path, pixels: Pixels, of: str, number: int) -> None:
        if of not in series:
            series[of] = _series(about, study, of, len(series) + 1)
        image = series[of]
        image.InstanceNumber = number + 1
        image.SOPInstanceUID = uid(image.SeriesInstanceUID, str(number), pixels.tobytes())
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.set_pixel_data(pixels, "MONOCHROME2" if pixels.ndim == 2 else "RGB", 8, generate_instance_uid=False)
        image.save_as(path, enforce_file_format=True)

    return save


def uid(*parts: str | bytes) -> str:
    """A UID of a UUID (PS3.5, B.2) that is the same for the same parts only."""
    content = sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        content.update(len(encoded).to_bytes(8, "big") + encoded)
    return f"2.25.{uuid5(NAMESPACE_OID, content.hexdigest()).int}"


def _series(about: About, study: str, of: str, number: int) -> Any:
    """What all images of a class have in common."""
    pydicom, uids = (library(name, "dicom", f"--format {DICOM.file_format}") for name in ("pydicom", "pydicom.uid"))
    facts = about.facts()
    image = pydicom.Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.InstanceCreationDate = about.created.replace("-", "")
    image.SOPClassUID = uids.SecondaryCaptureImageStorage
    image.SyntheticData = "YES"
    image.PatientName, image.PatientID = "SYNTHETIC^NOT A PATIENT", f"SYNTHETIC-{about.study_id[:16]}"
    for name in (
        *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
        *("AccessionNumber", "PatientOrientation"),
    ):
        setattr(image, name, "")
    image.StudyInstanceUID, image.StudyDescription = study, about.title[:_LONGEST_STRING]
    image.SeriesInstanceUID, image.SeriesNumber = uid(study, of), number
    image.SeriesDescription = of
    image.Modality, image.ConversionType = "OT", "SYN"
    image.Manufacturer, image.SoftwareVersions = "SiloGAN", __version__
    image.DerivationDescription = facts["note"]
    image.ImageComments = "; ".join(f"{name}: {said}" for name, said in facts.items())[:_LONGEST_TEXT]
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    return image
