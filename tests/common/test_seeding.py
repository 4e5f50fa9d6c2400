"""Streams are the same for the same purpose for ever, and differ between purposes."""

import itertools

import torch

from silogan.common.seeding import derive_seed, seeded_generator


def test_seeds_never_change_between_versions() -> None:
    """SHA-256 of "0 US initial weights" and of "7 US site-1 US 3 US noise", first 63 bits (by `sha256sum`)."""
    assert derive_seed(0, "initial weights") == 5343337840799183452
    assert derive_seed(7, "site-1", 3, "noise") == 7747798756972012020


def test_every_part_of_the_purpose_counts() -> None:
    purposes = [(), ("a",), ("b",), ("a", 1), ("a", 2), ("a", "b"), ("ab",), ("a", 12), ("a", 1, 2)]
    seeds = [derive_seed(seed, *purpose) for seed, purpose in itertools.product((0, 1, 2**63 - 1), purposes)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_draws_the_stream_of_its_seed_and_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    drawn = torch.randn(5, generator=seeded_generator(3, "noise"))
    again = torch.randn(5, generator=torch.Generator().manual_seed(derive_seed(3, "noise")))
    other = torch.randn(5, generator=seeded_generator(3, "sampling"))
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    assert torch.equal(torch.get_rng_state(), before)
