"""Sheets of walks through latent space. Rows with the same number have the same latent vectors in all classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from silogan.server.explore.latent import between, main_directions
from silogan.server.explore.sheet import Group, Sheet
from silogan.server.explore.subject import Subject

STEPS = 8
"""Images from one latent vector to another, both included."""

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
DEVIATIONS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
DIRECTIONS = 3


def interpolation(subject: Subject, rng: torch.Generator) -> Sheet:
    """From one drawn vector to another: an image that jumps shows that the generator knows only single images."""
    ends = subject.latents(subject.rows, 2, rng=rng)
    columns = ["one draw", *[""] * (STEPS - 2), "another"]
    return Sheet(
        "From one drawn image to another: spherical interpolation of the latent vector.",
        columns,
        _groups(subject, [between(start, end, STEPS) for start, end in ends]),
    )


def truncation(subject: Subject, rng: torch.Generator) -> Sheet:
    """The same vectors at other lengths: the shorter, the more typical is the image and the less varied are all.

    The trade of variety for typical images is that of Brock et al. (2019, section 3.1), who draw large numbers again;
    numbers are scaled here instead, so that a row shows one image.
    """
    scales = torch.tensor(SCALES).unsqueeze(1)
    return Sheet(
        "The same latent vector at other lengths: shorter is more typical, and less varied.",
        [f"× {scale:g}" for scale in SCALES],
        _groups(subject, [scales * z for z in subject.latents(subject.rows, rng=rng)]),
    )


def traversal(subject: Subject, rng: torch.Generator) -> Sheet:  # noqa: ARG001  (nothing is drawn at random)
    """Along the directions in which a class's image changes most, in standard deviations of the latent vector."""
    steps = torch.tensor(DEVIATIONS).unsqueeze(1)
    groups = [
        Group(name, [subject.pixels(steps * one, label) for one in main_directions(subject, label, DIRECTIONS)])
        for name, label in subject.classes.items()
    ]
    title = "Along the main directions of each class, the strongest first, in standard deviations from its middle."
    return Sheet(title, [f"{step:+g}" if step else "0" for step in DEVIATIONS], groups)


WALKS: dict[str, Callable[[Subject, torch.Generator], Sheet]] = {
    "interpolation": interpolation,
    "truncation": truncation,
    "traversal": traversal,
}
"""By the name of the file."""


def _groups(subject: Subject, rows: list[Tensor]) -> list[Group]:
    """The images of each class for the latent vectors float32[N, latent_dim] of each row."""
    return [Group(name, [subject.pixels(row, label) for row in rows]) for name, label in subject.classes.items()]
