"""Keyed fingerprints, by which a hospital knows patients and records again under any name that their data goes by.

Privacy:
    Without the site's key a fingerprint says nothing of a patient (HMAC-SHA256, RFC 2104). They stay at the site.
"""

import hmac
from collections.abc import Callable, Collection, Iterator

import torch

from client.data.records import Images
from common.errors import DataError
from common.privacy.plan import Unit

_BYTES = 16

Derive = Callable[[bytes], bytes]
"""A key of the site for one purpose (`client.ledger.keys.SiteKey.derived`)."""


def fingerprints(images: Images, unit: Unit, derive: Derive) -> tuple[str, ...]:
    """Fingerprints of a data set's patients and records: sorted, 32 hexadecimal digits each.

    A patient is known by the hospital's name for it, a record by its pixels and label; files may be renamed or copied.
    """
    found = set(_of_records(images, derive))
    if unit == "patient":
        found.update(_of_patients(images, derive).values())
    return tuple(sorted(found))


def known(images: Images, unit: Unit, prints: Collection[str], derive: Derive) -> Images:
    """The images of units with one of these fingerprints. All others are left out.

    Raises:
        DataError: the unit is the patient, and the images do not say whose they are.
    """
    among = set(prints)
    if unit == "record":
        kept = torch.tensor([one in among for one in _of_records(images, derive)], dtype=torch.bool)
    elif images.patients is None:
        raise DataError("images", "do not say whose they are", "give the manifest that they were registered with")
    else:
        codes = [code for code, one in _of_patients(images, derive).items() if one in among]
        kept = torch.isin(images.patients, torch.tensor(codes, dtype=torch.int64))
    return images if bool(kept.all()) else images.select(kept.nonzero().squeeze(1))


def _of_patients(images: Images, derive: Derive) -> dict[int, str]:
    """The fingerprint of each patient that the images are of, by its code."""
    if images.patients is None or images.patient_names is None:
        return {}
    names, key = images.patient_names, derive(b"fingerprint of a patient")
    return {code: _keyed(key, names[code].encode()) for code in images.patients.unique().tolist()}


def _of_records(images: Images, derive: Derive) -> Iterator[str]:
    key = derive(b"fingerprint of a record")
    for pixels, label in zip(images.pixels, images.labels.tolist(), strict=True):
        yield _keyed(key, f"{tuple(pixels.shape)} {label} ".encode() + pixels.numpy().tobytes())


def _keyed(key: bytes, value: bytes) -> str:
    return hmac.digest(key, value, "sha256")[:_BYTES].hex()
