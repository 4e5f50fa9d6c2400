"""Seeds for simulations: one number in the scenario, an independent stream for every purpose."""

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, independent of the seeds of all other purposes.

    Args:
        seed: the scenario's seed.
        purpose: what the stream is for, for example `("site-1", 3, "noise")`.
    """
    return int.from_bytes(derive_key(seed, *purpose)[:8], "big") >> 1


def derive_key(seed: int, *purpose: str | int) -> bytes:
    """A key of 32 bytes for one purpose; `derive_seed` is its beginning."""
    return hashlib.sha256("\x1f".join(map(str, (seed, *purpose))).encode()).digest()


def random_generator(seed: int | None, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """`seeded_generator`, or where there is no seed one that the operating system seeds; not for private noise."""
    if seed is not None:
        return seeded_generator(seed, *purpose, device=device)
    generator = torch.Generator(device)
    generator.seed()
    return generator


def seeded_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` that draws the stream of `derive_seed(seed, *purpose)`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))
