"""Small DICOM and NIfTI files, which tests and the fuzzer then spoil."""

import gzip
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

EXPLICIT = "1.2.840.10008.1.2.1"
"""The transfer syntax Explicit VR Little Endian."""


def write_dicom(path: Path, stored: NDArray[Any], patient: str | None, **attributes: Any) -> None:
    """Writes a grey image: uint8, uint16, int8 or int16 [H, W].

    Args:
        path: of the new file.
        stored: its values.
        patient: the Patient ID; left out if None.
        attributes: by keyword, in place of those that follow from `stored`; None leaves one out.
    """
    dataset = import_module("pydicom").Dataset()
    meta = import_module("pydicom").dataset.FileMetaDataset()
    meta.TransferSyntaxUID = EXPLICIT
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    bits = 8 * stored.dtype.itemsize
    values: dict[str, Any] = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientID": patient,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
    }
    for name, value in (values | attributes).items():
        if value is not None:
            setattr(dataset, name, value)
    pixels = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = attributes.get("PixelData", pixels + b"\0" * (len(pixels) % 2))
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def write_nifti(path: Path, stored: NDArray[Any], affine: NDArray[Any] | None = None, **fields: Any) -> None:
    """Writes a volume; `fields` of the header are then set to what they must not be.

    Args:
        path: of the new file, .nii or .nii.gz.
        stored: its values, of a type that NIfTI has.
        affine: float[4, 4], from indices to the body in mm (RAS+); unknown if None.
        fields: of the header of 348 bytes, by name.
    """
    nibabel = import_module("nibabel")
    image = nibabel.Nifti1Image(stored, affine)
    content = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
