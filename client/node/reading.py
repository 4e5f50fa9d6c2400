"""The data of a node's cohorts, read as it was registered.

Apart from `client/node/node.py`, whose other commands look at no record and start without torch.
"""

import logging
from dataclasses import replace
from pathlib import Path

from client.data import DataSet, Records, read
from client.data.fingerprints import fingerprints, known
from client.data.location import absolute, check_readable
from client.ledger.keys import SiteKey
from client.ledger.register import Registration
from common.errors import ConfigError, DataError, PrivacyRefusal, UsageError
from common.modality import Data
from common.modality.image_options import Digits
from common.privacy.plan import Unit

_log = logging.getLogger("silogan.node")


def to_register(
    name: str, site: str, data: Data, declared_size: int, unit: Unit, key: SiteKey, *, rehearsal: bool
) -> Registration:
    """What there is to register of a data set, under a ledger of its own; see `Node.add_cohort`.

    Raises:
        DataError: the data is unusable.
        PrivacyRefusal: its unit does not fit it; or it is for a rehearsal, but holds patients.
    """
    data = absolute(data)
    found = _real(data, rehearsal)
    if unit == "patient" and found.train.patients is None:
        problem = "does not say which patient each record belongs to, but the policy protects patients"
        hint = "name them (data.patients, or patient in the description of a table), or set unit: record"
        raise PrivacyRefusal(f"cohort '{name}'", problem, hint)
    prints = fingerprints(found.train, unit, key.derived)
    return Registration(name, site, name, data, found.schema, unit, declared_size, prints, rehearsal)


def read_registered(registration: Registration, key: SiteKey) -> Records:
    """A cohort's records, without those of patients who were not registered: no ledger covers them."""
    records = _read(registration)
    kept = known(records, registration.unit, registration.fingerprints, key.derived)
    if len(kept) < len(records):
        _log.warning("cohort '%s' holds records that were not registered: they are left out", registration.name)
    return kept


def check_complete(registration: Registration, key: SiteKey) -> None:
    """Reads a cohort's data as a round would.

    Raises:
        DataError: it cannot be read, or holds what was not registered, which rounds leave out.
    """
    check_readable(registration.data)
    records = _read(registration)
    if len(known(records, registration.unit, registration.fingerprints, key.derived)) < len(records):
        hint = "register the data under another name with `silogan node init`"
        raise DataError(f"cohort '{registration.name}'", "holds records that were not registered", hint)


def moved(registration: Registration, places: dict[str, Path], key: SiteKey) -> Data:
    """A cohort's data with new places (`root`, `patients`), which are read and checked.

    Raises:
        DataError: the data cannot be read, holds no registered patient, or also holds others.
        UsageError: the cohort's source has no such place.
    """
    for place in places.keys() - type(registration.data).model_fields.keys():
        raise UsageError(f"data.{place}", f"is not an option of source '{registration.data.source}'", "leave it out")
    data = absolute(registration.data.model_copy(update=places))
    check_readable(data)
    records = _read(replace(registration, data=data))
    count = len(known(records, registration.unit, registration.fingerprints, key.derived))
    if count < len(records) or not count:
        problem = "is not the data that was registered"
        hint = "give the folder that it was moved to, or register it under another name"
        raise DataError(f"data for cohort '{registration.name}'", problem, hint)
    return data


def _read(registration: Registration) -> Records:
    found = _real(registration.data, registration.rehearsal, may_be_empty=True)
    if found.schema != registration.schema:
        hint = "register the data under another name with `silogan node init`"
        raise DataError(f"cohort '{registration.name}'", "has records of another shape than registered", hint)
    return found.train


def _real(data: Data, rehearsal: bool, *, may_be_empty: bool = False) -> DataSet:
    """The data of one hospital, without simulated patients; for a rehearsal, without any real patient.

    Raises:
        PrivacyRefusal: it is for a rehearsal, and holds other records than the digits that come with scikit-learn.
    """
    if data.simulated_per_patient != 1:
        problem = f"is {data.simulated_per_patient}, but simulated patients are for simulations only"
        raise ConfigError(f"data.{data.simulates}", problem, "name the patient of each record")
    found = read(data, may_be_empty=may_be_empty)
    found = replace(found, train=found.train.of_one_hospital(), test=found.test.of_one_hospital(), site_names=None)
    if rehearsal and not _contents(found) <= _contents(read(Digits())):
        problem = "holds records other than the embedded digits, but a rehearsal's noise is not secret"
        raise PrivacyRefusal("data", problem, "rehearse with source: digits, or leave out --rehearsal")
    return found


def _contents(data: DataSet) -> set[bytes]:
    return {content for records in (data.train, data.test) for content in records.contents()}
