"""Which records are held out for testing, without a list that depends on the other records."""

import hashlib


def share(key: bytes) -> float:
    """A fixed number in [0, 1) that depends on nothing but the key; it is held out where it is below a fraction.

    Adding or removing one patient then moves no other between the splits, without which the guarantee for one patient
    would not hold.
    """
    return int.from_bytes(hashlib.sha256(key).digest()[:6], "big") / 2**48
