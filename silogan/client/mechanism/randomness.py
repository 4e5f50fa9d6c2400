"""The randomness of the mechanism: a stream cipher, keyed by the operating system.

Privacy:
    The guarantee rests on sampling, order and noise that nobody can predict. The stream is AES-256 in counter mode; its
    key is used for one round and forgotten. `Randomness.secure` takes the key from the operating system's cryptographic
    source. A simulation may give one that follows from its seed, which protects against nobody who knows it.
"""

import os

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor


class Randomness:
    """A stream of random bits, and the draws that the mechanism makes from it. All tensors are on the CPU.

    Args:
        key: 32 bytes that no other stream has.
    """

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    @classmethod
    def secure(cls) -> "Randomness":
        """A stream that nobody can predict or repeat."""
        return cls(os.urandom(32))

    def bits(self, size: int, width: int) -> Tensor:
        """`size` independent uniform integers of `width` bits, from 1 to 63: int64[size]."""
        if not size:
            return torch.empty(0, dtype=torch.int64)
        return torch.frombuffer(bytearray(self._stream.update(bytes(8 * size))), dtype=torch.int64) & ((1 << width) - 1)

    def uniform(self, size: int) -> Tensor:
        """`size` independent values, uniform on (0, 1] in steps of 2⁻⁵³: float64[size]."""
        return (self.bits(size, 53) + 1).double().mul_(2.0**-53)

    def poisson_sample(self, population: int, rate: float) -> Tensor:
        """Indices, int64[n] and increasing, of a sample with each of `population` units in it by a coin of its own.

        The coin's probability is `rate` rounded down to a multiple of 2⁻⁵³.
        """
        return (self.uniform(population) <= rate).nonzero().squeeze(1)

    def permutation(self, size: int) -> Tensor:
        """A uniformly random order of `size` places, int64[size]: that of 63-bit keys, drawn again if two are equal."""
        while True:
            keys = self.bits(size, 63)
            order = keys.argsort()
            if not bool((keys[order].diff() == 0).any()):
                return order
