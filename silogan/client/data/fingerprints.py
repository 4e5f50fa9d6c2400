"""Keyed fingerprints, by which a hospital recognises patients and records under any name of their data.

Privacy:
    Without the site's key a fingerprint reveals nothing about a patient (HMAC-SHA256, RFC 2104). They stay at the site.
"""

import hmac
from collections.abc import Callable, Collection, Iterator

import torch

from silogan.client.data.records import Records
from silogan.common.errors import DataError
from silogan.common.privacy.plan import Unit

_BYTES = 16

Derive = Callable[[bytes], bytes]
"""A key of the site for one purpose (`silogan.client.ledger.keys.SiteKey.derived`)."""


def fingerprints(records: Records, unit: Unit, derive: Derive) -> tuple[str, ...]:
    """Fingerprints of a data set's patients and records: sorted, 32 hexadecimal digits each.

    A patient is known by the hospital's name for it, a record by what is stored and its label; files may be renamed or
    copied.
    """
    found = set(_of_records(records, derive))
    if unit == "patient":
        found.update(_of_patients(records, derive).values())
    return tuple(sorted(found))


def known(records: Records, unit: Unit, prints: Collection[str], derive: Derive) -> Records:
    """The records of units with one of these fingerprints. All others are left out.

    Raises:
        DataError: the unit is the patient, and the records name no patients.
    """
    among = set(prints)
    if unit == "record":
        kept = torch.tensor([one in among for one in _of_records(records, derive)], dtype=torch.bool)
    elif records.patients is None:
        raise DataError("records", "name no patients", "give the manifest that they were registered with")
    else:
        codes = [code for code, one in _of_patients(records, derive).items() if one in among]
        kept = torch.isin(records.patients, torch.tensor(codes, dtype=torch.int64))
    return records if bool(kept.all()) else records.select(kept.nonzero().squeeze(1))


def _of_patients(records: Records, derive: Derive) -> dict[int, str]:
    """The fingerprint of each patient that the records are of, by its code."""
    if records.patients is None or records.patient_names is None:
        return {}
    names, key = records.patient_names, derive(b"fingerprint of a patient")
    return {code: _keyed(key, names[code].encode()) for code in records.patients.unique().tolist()}


def _of_records(records: Records, derive: Derive) -> Iterator[str]:
    key = derive(b"fingerprint of a record")
    for (shape, content), label in zip(records.parts(), records.labels.tolist(), strict=True):
        yield _keyed(key, shape + f"{label} ".encode() + content)


def _keyed(key: bytes, value: bytes) -> str:
    return hmac.digest(key, value, "sha256")[:_BYTES].hex()
