"""Where the randomness of a private step comes from: the operating system, or in a simulation the scenario's seed.

Privacy:
    The guarantee rests on sampling and noise that nobody can predict. `SecureRandomness` is AES-256 in counter mode
    under a key that the operating system gives, used for one round and forgotten. `SeededRandomness` protects against
    nobody who knows the seed.
"""

import math
import os
from typing import Protocol

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Randomness(Protocol):
    """A source of Poisson samples, uniform values and Gaussian noise."""

    def poisson_sample(self, population: int, rate: float) -> torch.Tensor:
        """Indices (int64[n], increasing) of a sample in which each of `population` units is with probability `rate`."""
        ...

    def uniform(self, size: int) -> torch.Tensor:
        """`size` independent values, uniform on the unit interval, float64[size] on the source's device."""
        ...

    def normal(self, size: int) -> torch.Tensor:
        """`size` independent standard normal values, float32[size] on the source's device."""
        ...


class SeededRandomness:
    """Reproducible, for simulations only.

    Args:
        generator: drives everything; values are drawn on its device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def poisson_sample(self, population: int, rate: float) -> torch.Tensor:
        """See `Randomness`."""
        return (self.uniform(population) < rate).nonzero().squeeze(1)

    def uniform(self, size: int) -> torch.Tensor:
        """See `Randomness`."""
        return torch.rand(size, generator=self._generator, device=self._generator.device, dtype=torch.float64)

    def normal(self, size: int) -> torch.Tensor:
        """See `Randomness`."""
        return torch.randn(size, generator=self._generator, device=self._generator.device)


class SecureRandomness:
    """Cryptographic: AES-256-CTR keyed by the operating system.

    Normal values come from 64-bit uniforms by the method of Box and Muller (1958), in float64. The generator is not
    hardened against attacks on the floating-point lattice (Mironov, 2012): the values that leave are weights after
    Adam, not sums.

    Args:
        device: where values are needed; they are drawn on the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(os.urandom(16))).encryptor()

    def poisson_sample(self, population: int, rate: float) -> torch.Tensor:
        """See `Randomness`."""
        return (self._uniform(population) <= rate).nonzero().squeeze(1).to(self._device)

    def uniform(self, size: int) -> torch.Tensor:
        """See `Randomness`."""
        return self._uniform(size).to(self._device)

    def normal(self, size: int) -> torch.Tensor:
        """See `Randomness`."""
        half = (size + 1) // 2
        radius = self._uniform(half).log_().mul_(-2).sqrt_()
        angle = self._uniform(half).mul_(2 * math.pi)
        pairs = torch.cat((radius * angle.cos(), radius * angle.sin()))
        return pairs[:size].to(self._device, torch.float32)

    def _uniform(self, size: int) -> torch.Tensor:
        """float64[size], uniform on (0, 1] in steps of 2⁻⁵³."""
        keystream = bytearray(self._stream.update(bytes(8 * size)))
        bits = torch.frombuffer(keystream, dtype=torch.int64) if size else torch.empty(0, dtype=torch.int64)
        return ((bits & (2**53 - 1)) + 1).to(torch.float64).mul_(2.0**-53)
