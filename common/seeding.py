"""Seeds for simulations: one number in the scenario, an independent stream for every purpose."""

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, independent of the seeds of all other purposes.

    Args:
        seed: the scenario's seed.
        purpose: what the stream is for, for example `("site-1", 3, "noise")`.
    """
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


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
