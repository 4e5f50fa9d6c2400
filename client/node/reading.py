"""The data of a node's cohorts, read as it was registered.

Apart from `client/node/node.py`, whose other commands look at no image and start without torch.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from client.data import ImageData, Images, read
from client.data.fingerprints import fingerprints, known
from client.data.location import absolute, check_readable
from client.ledger.keys import SiteKey
from client.ledger.register import Registration
from common.config.scenario import Data
from common.errors import ConfigError, DataError, PrivacyRefusal
from common.privacy.plan import Unit

_log = logging.getLogger("silogan.node")


def to_register(
    name: str, site: str, data: Data, declared_size: int, unit: Unit, key: SiteKey, *, rehearsal: bool
) -> Registration:
    """What there is to register of a data set, under a ledger of its own; see `Node.add_cohort`.

    Raises:
        DataError: the data is unusable.
        PrivacyRefusal: its unit does not fit it; or it is for a rehearsal, and is somebody's.
    """
    data = absolute(data)
    found = _real(data, rehearsal)
    if unit == "patient" and found.train.patients is None:
        problem = "does not say whose each image is, but the policy protects patients"
        raise PrivacyRefusal(f"cohort '{name}'", problem, "give a manifest in data.patients, or set unit: record")
    prints = fingerprints(found.train, unit, key.derived)
    return Registration(name, site, name, data, found.schema, unit, declared_size, prints, rehearsal)


def read_registered(registration: Registration, key: SiteKey) -> Images:
    """A cohort's images, but for those of patients who were not registered: no ledger counts for them."""
    images = _read(registration)
    kept = known(images, registration.unit, registration.fingerprints, key.derived)
    if len(kept) < len(images):
        _log.warning("cohort '%s' holds what was not registered: it is left out", registration.name)
    return kept


def check_complete(registration: Registration, key: SiteKey) -> None:
    """Reads a cohort's data as a round would.

    Raises:
        DataError: it cannot be read, or holds what was not registered, which rounds leave out.
    """
    check_readable(registration.data)
    images = _read(registration)
    if len(known(images, registration.unit, registration.fingerprints, key.derived)) < len(images):
        hint = "register the data under a name of its own with `silogan node init`"
        raise DataError(f"cohort '{registration.name}'", "holds what was not registered", hint)


def moved(registration: Registration, places: dict[str, Path], key: SiteKey) -> Data:
    """A cohort's data as it is to be read from other places (`root`, `patients`), which are looked at.

    Raises:
        DataError: what is there cannot be read, is of nobody who was registered, or of others too.
    """
    data = absolute(registration.data.model_copy(update=places))
    check_readable(data)
    images = _read(replace(registration, data=data))
    count = len(known(images, registration.unit, registration.fingerprints, key.derived))
    if count < len(images) or not count:
        problem = "is not the data that was registered"
        hint = "give the folder that it was moved to, or register it under a name of its own"
        raise DataError(f"data for cohort '{registration.name}'", problem, hint)
    return data


def _read(registration: Registration) -> Images:
    found = _real(registration.data, registration.rehearsal, may_be_empty=True)
    if found.schema != registration.schema:
        hint = "register the data under a name of its own with `silogan node init`"
        raise DataError(f"cohort '{registration.name}'", "has images of another shape than was registered", hint)
    return found.train


def _real(data: Data, rehearsal: bool, *, may_be_empty: bool = False) -> ImageData:
    """The hospital's data, in which no patient is made up; for a rehearsal, in which no patient is.

    Raises:
        PrivacyRefusal: it is for a rehearsal, and holds other images than the digits that come with scikit-learn.
    """
    if data.images_per_patient != 1:
        problem = f"is {data.images_per_patient}: simulated patients are for simulations"
        raise ConfigError("data.images_per_patient", problem, "give a manifest in data.patients")
    found = read(data, may_be_empty=may_be_empty)
    if rehearsal and not _rows(found) <= _rows(read(Data())):
        problem = "holds other images than the embedded digits: everybody may know a rehearsal's noise"
        raise PrivacyRefusal("data", problem, "rehearse with source: digits, or leave out --rehearsal")
    return found


def _rows(data: ImageData) -> set[bytes]:
    """Every image, with its size."""
    return {f"{tuple(pixels.shape)} ".encode() + pixels.numpy().tobytes() for pixels in _all_pixels(data)}


def _all_pixels(data: ImageData) -> Iterator[Tensor]:
    for images in (data.train, data.test):
        yield from images.pixels
