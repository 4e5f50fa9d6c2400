"""The data of a node's cohorts, read as it was registered.

Apart from `client/node/node.py`, whose other commands look at no record and start without torch.
"""

import logging
from dataclasses import replace
from pathlib import Path

from silogan.client.data import DataSet, Records, read
from silogan.client.data.fingerprints import fingerprints, known
from silogan.client.data.location import absolute, check_readable
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.register import Registration
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal, UsageError
from silogan.common.modality import Data, Schema
from silogan.common.modality.image_options import Digits
from silogan.common.modality.table_options import BreastCancer
from silogan.common.privacy.plan import Unit

PUBLIC: tuple[Data, ...] = (Digits(), BreastCancer())
"""Embedded data that is nobody's secret: all that a rehearsal may hold, under whatever source it is registered."""

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
    if not len(found.train):
        hint = "give the records of its patients, or a smaller data.test_fraction"
        raise DataError(f"data of source '{data.source}'", "has no record that could take part", hint)
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


def check_present(registration: Registration) -> None:
    """What can be wrong with a cohort's data that shows without a look at a record: see `check_readable`.

    Raises:
        ConfigError, DataError: a file cannot be opened, or describes other columns than those registered.
    """
    check_readable(registration.data)
    _check_schema(registration, registration.data.described(registration.schema))


def check_complete(registration: Registration, key: SiteKey) -> None:
    """Reads a cohort's data as a round would.

    Raises:
        DataError: it cannot be read, or holds what was not registered, which rounds leave out.
    """
    check_present(registration)
    records = _read(registration)
    if len(known(records, registration.unit, registration.fingerprints, key.derived)) < len(records):
        hint = "register the data under another name with `silogan node init`"
        raise DataError(f"cohort '{registration.name}'", "holds records that were not registered", hint)


def moved(registration: Registration, places: dict[str, Path], key: SiteKey) -> Data:
    """A cohort's data with new places (`root`, `patients`, `rows`, `columns`, `masks`), which are read and checked.

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
    found = _real(registration.data, registration.rehearsal)
    _check_schema(registration, found.schema)
    return found.train


def _check_schema(registration: Registration, schema: Schema) -> None:
    if schema != registration.schema:
        problem = f"has records of another shape than registered ({registration.schema.difference(schema)})"
        hint = "register the data under another name with `silogan node init`"
        raise DataError(f"cohort '{registration.name}'", problem, hint)


def _real(data: Data, rehearsal: bool) -> DataSet:
    """The data of one hospital, without simulated patients; for a rehearsal, without any real patient.

    Nothing is tested at a hospital: its split for that may be empty.

    Raises:
        ConfigError: it simulates patients.
        DataError: it cannot be read.
        PrivacyRefusal: it is for a rehearsal, and is not a part of `PUBLIC`.
    """
    if data.simulated_per_patient != 1:
        problem = f"is {data.simulated_per_patient}, but simulated patients are for simulations only"
        raise ConfigError(f"data.{data.simulates}", problem, "name the patient of each record")
    found = read(data, may_be_empty=True)
    found = replace(found, train=found.train.of_one_hospital(), test=found.test.of_one_hospital(), site_names=None)
    if rehearsal and not any(_contents(found) <= _contents(read(public)) for public in PUBLIC):
        problem = "holds records that are not public, but a rehearsal's noise is not secret"
        hint = f"rehearse with source: {' or '.join(public.source for public in PUBLIC)}, or leave out --rehearsal"
        raise PrivacyRefusal("data", problem, hint)
    return found


def _contents(data: DataSet) -> set[tuple[bytes, str]]:
    """What is stored of each record, and the name of its class."""
    return {
        (content, data.schema.classes[label])
        for records in (data.train, data.test)
        for content, label in zip(records.contents(), records.labels.tolist(), strict=True)
    }
