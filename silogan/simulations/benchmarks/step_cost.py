"""The cost of a private discriminator step over the plain one: ours, Opacus' hooks, its ghost clipping, vmap.

Each step is whole, from bytes to Adam: `batch` real and as many fake images, each clipped by itself, and noise. Ours is
the product's, through the door; with q = 1, so that each step has as many real images as any other. The steps take
turns, so that a disturbance of the machine meets all of them; ratios are of medians. Memory is what the steps add to
the peak of a process that takes no others.

    python simulations/benchmarks/step_cost.py [--short] [--json] [--device cuda] [--threads 1]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As the `silogan` launcher does, before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap  # pyright: ignore[reportPrivateImportUsage]
from torch.optim import Adam

from silogan.client.data import Records
from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.client.round import MICRO_BATCH
from silogan.client.training.steps import PrivateStep, block_size
from silogan.client.training.unprotected import PlainStep, UnprotectedPatients
from silogan.common.allocator import keep_freed_memory
from silogan.common.config.scenario import parse_scenario
from silogan.common.device import available_cores
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_options import Dcgan
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import Discriminator, build
from silogan.common.privacy.plan import make_plan
from silogan.common.seeding import derive_key
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._opacus import ghost_step, hooks_step
from silogan.simulations.processes import memory

LOSS = LOSSES["nonsaturating"]
CLASSES = tuple("0123456789")
SIZES = (28, 64)
WIDTH = 64
CLIP = NOISE = 1.0
ENCODE = ImageSchema(SIZES[0], 1, CLASSES).encode

Step = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """The input of every step: the same network, images and labels.

    Attributes:
        discriminator: of random weights, the same each time.
        adam: holds its parameters.
        real: `batch` images, in bytes.
        fakes: as many, float32[batch, 1, S, S] in [-1, 1].
        fake_labels: int64[batch].
    """

    discriminator: Discriminator
    adam: Adam
    real: Records
    fakes: Tensor
    fake_labels: Tensor

    @staticmethod
    def of(size: int, batch: int, device: str) -> "Work":
        """The work of one step."""
        torch.manual_seed(0)
        with torch.device(device):
            _, discriminator = build(Dcgan(width=WIDTH), ImageSchema(size, 1, CLASSES))
            pixels = torch.randint(256, (batch, 1, size, size), dtype=torch.uint8)
            labels, fake_labels = torch.randint(len(CLASSES), (2, batch))
            fakes = torch.rand(batch, 1, size, size) * 2 - 1
        adam = Adam(discriminator.parameters(), lr=1e-4, betas=(0.5, 0.999), fused=True)
        return Work(discriminator, adam, Records({PIXELS: pixels}, labels), fakes, fake_labels)

    def all(self) -> tuple[Tensor, Tensor]:
        """Images and labels in one batch, the real ones first: for steps that cannot keep them apart."""
        images = torch.cat((ENCODE(self.real.stored), self.fakes))
        return images, torch.cat((self.real.labels, self.fake_labels))

    def losses(self, critic: torch.nn.Module) -> Tensor:
        """One loss an image."""
        real, fake = critic(*self.all()).chunk(2)
        return torch.cat((LOSS.real(real), LOSS.fake(fake)))


def plain(work: Work) -> Step:
    """The product's step without privacy."""
    scenario = {"name": "cost", "training": {"sample_rate": 1.0}, "privacy": {"enabled": False}}
    phase = make_plan(parse_scenario(scenario)).training
    patients = UnprotectedPatients(work.real, ENCODE, "record", phase, _randomness())
    step = PlainStep(work.discriminator, work.adam, patients, len(work.real), nullcontext())
    return lambda: step.take(LOSS, work.fakes, work.fake_labels)


def ours(work: Work) -> Step:
    """The product's private step, in blocks as a site chooses them."""
    batch, device = len(work.real), work.fakes.device.type
    most = MICRO_BATCH[device]
    terms = Terms(1.0, CLIP, NOISE, records_per_patient=1, block=block_size(batch, 1.0, 1, most))
    patients = Patients(work.real.stored, work.real.labels, None, encode=ENCODE, terms=terms, randomness=_randomness())
    sums = {"clip_norm": CLIP, "expected_batch": float(batch)}
    step = PrivateStep(work.discriminator, work.adam, patients, **sums, at_once=most, precision=nullcontext())
    return lambda: step.take(LOSS, work.fakes, work.fake_labels)


def opacus(take: Callable[..., Step]) -> Callable[[Work], Step]:
    """A step of Opacus' own."""

    def begin(work: Work) -> Step:
        how = {"max_grad_norm": CLIP, "noise_multiplier": NOISE}
        return take(work.discriminator, work.adam, work.losses, batch=len(work.real), **how)

    return begin


def by_vmap(work: Work) -> Step:
    """A step by torch.func's per-sample gradients."""
    discriminator, batch = work.discriminator, len(work.real)

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor, real: Tensor) -> Tensor:
        logit = functional_call(discriminator, weights, (image[None], label[None]))
        return torch.where(real, LOSS.real(logit), LOSS.fake(logit)).sum()

    def step() -> None:
        weights = {name: p.detach() for name, p in discriminator.named_parameters()}
        images, labels = work.all()
        is_real = torch.arange(2 * batch, device=images.device) < batch
        gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0))(weights, images, labels, is_real)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factors = (CLIP / norms).clamp(max=1)
        for name, p in discriminator.named_parameters():
            total = torch.einsum("i,i...", factors, gradients[name])
            p.grad = (total + NOISE * CLIP * torch.randn_like(p)) / batch
        work.adam.step()

    return step


STEPS: dict[str, Callable[[Work], Step]] = {
    "plain": plain,
    "ours": ours,
    "hooks": opacus(hooks_step),
    "ghost": opacus(ghost_step),
    "vmap": by_vmap,
}


def make_step(engine: str, size: int, batch: int, device: str) -> Step:
    """A step of one kind; all kinds get the same work."""
    return STEPS[engine](Work.of(size, batch, device))


def _randomness() -> Randomness:
    return Randomness(derive_key(0, "cost"))


def timed(step: Step, device: str) -> float:
    """Seconds of one step."""
    begin = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def peak(engine: str, size: int, batch: int, device: str) -> int:
    """Bytes that three steps add to the peak of this process."""
    if device == "cpu":  # what torch loads once is not a cost of the step
        make_step(engine, 28, 2, device)()
    step = make_step(engine, size, batch, device)
    before = memory("VmHWM") if device == "cpu" else 0
    for _ in range(3):
        step()
    return memory("VmHWM") - before if device == "cpu" else torch.cuda.max_memory_allocated()


def has_room(size: int, batch: int, device: str) -> bool:
    """Whether there is memory for engines that form each image's gradient: they peak at about three times its size."""
    _, discriminator = build(Dcgan(width=WIDTH), ImageSchema(size, 1, CLASSES))
    gradients = 4 * 2 * batch * sum(p.numel() for p in discriminator.parameters())
    if device == "cpu":
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        available, _ = torch.cuda.mem_get_info()
    return 3 * gradients < available


def peak_alone(engine: str, size: int, batch: int, arguments: argparse.Namespace) -> int:
    """`peak` in a process of its own."""
    command = [sys.executable, __file__, "--device", arguments.device, "--threads", str(arguments.threads)]
    command += ["--peak", engine, str(size), str(batch), *(["--keep-freed"] if arguments.keep_freed else [])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603  (our own)


def compare(size: int, batch: int, engines: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: engines in turn, then their memory."""
    not_run = [] if has_room(size, batch, arguments.device) else engines[2:]
    engines = [engine for engine in engines if engine not in not_run]
    steps = {engine: make_step(engine, size, batch, arguments.device) for engine in engines}
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    for number in range(arguments.rounds + 1):
        for engine, step in steps.items():
            taken = timed(step, arguments.device)
            if number:  # the first warms up
                times[engine].append(taken)
    memory = {engine: peak_alone(engine, size, batch, arguments) for engine in engines}
    median = {engine: statistics.median(values) for engine, values in times.items()}
    pairs = [ours / plain for ours, plain in zip(times["ours"], times["plain"], strict=True)]
    row: dict[str, Any] = {
        "model": f"dcgan-{size}x{size}-width-{WIDTH}",
        "batch": batch,
        "threads": arguments.threads,
        "plain_seconds": median["plain"],
        "images_per_second": 2 * batch / median["ours"],
        "ours_over_plain": median["ours"] / median["plain"],
        "ours_over_plain_quartiles": [round(value, 3) for value in statistics.quantiles(pairs, n=4)],
        "memory_over_plain": memory["ours"] / memory["plain"],
    }
    if not_run:
        row["not_run"] = f"{', '.join(not_run)}: too little memory"
    for engine in engines[2:]:
        row[f"{engine}_over_ours"] = median[engine] / median["ours"]
        row[f"{engine}_over_plain"] = median[engine] / median["plain"]
        row[f"{engine}_memory_over_plain"] = memory[engine] / memory["plain"]
    return row


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "28x28, batch 32, three rounds, without vmap")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--threads", type=int, default=available_cores(), help="threads of torch on a CPU")
    options.add_argument("--rounds", type=int, help="steps of each engine; 15 if not given")
    options.add_argument("--batches", default="256,1024", help="real images in a step; as many fakes come on top")
    options.add_argument("--engines", default="hooks,ghost,vmap", help="what stands beside plain and ours")
    keep = "allocate as the launcher does; with other engines, takes their memory"
    options.add_argument("--keep-freed", action="store_true", help=keep)
    options.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.keep_freed:
        keep_freed_memory()
    if arguments.peak:
        engine, size, batch = arguments.peak
        print(peak(engine, int(size), int(batch), arguments.device))
        return
    arguments.rounds = arguments.rounds or (3 if arguments.short else 15)
    batches = [32] if arguments.short else [int(batch) for batch in arguments.batches.split(",")]
    others = "hooks,ghost" if arguments.short else arguments.engines
    engines = ("plain", "ours", *filter(None, others.split(",")))
    sizes = SIZES[:1] if arguments.short else SIZES
    cases = [(f"{size}x{size}, batch {batch}", size, batch, engines, arguments) for size in sizes for batch in batches]
    show(measured(cases, compare), as_json=arguments.json)


if __name__ == "__main__":
    main()
