"""Images a second and peak memory of `silogan generate` in each format, from a run: of digits if none is given.

Each format is written by its own process, with one thread. Seconds are those of drawing, writing and hashing, without
the start of the process; `loaded_mib` is its memory before the first image.

    python simulations/benchmarks/image_generate.py [RUN] [--short] [--json] [--count 100000] [--formats png,npz]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch

import silogan
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.server.release.generate import generate
from silogan.server.release.generator import load_generator
from silogan.server.release.outputs import OUTPUTS
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.processes import memory


def written(run_dir: Path, file_format: str, count: int) -> dict[str, Any]:
    """What it costs this process to write so many images in a format."""
    torch.set_num_threads(1)
    load_generator(run_dir / GENERATOR_FILE)
    loaded = memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        begin = time.perf_counter()
        generate(run_dir, count=count, out=out, file_format=file_format, labels=None, seed=1, anyway=True)
        seconds = time.perf_counter() - begin
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {
            "format": file_format,
            "images": count,
            "images_per_second": round(count / seconds),
            "loaded_mib": loaded // 2**20,
            "peak_memory_mib": memory("VmHWM") // 2**20,
            "files": len(files),
            "size_mib": round(sum(path.stat().st_size for path in files) / 2**20, 1),
        }


def _apart(run_dir: Path, file_format: str, count: int) -> dict[str, Any]:
    """The same by a process of its own."""
    words = [sys.executable, __file__, str(run_dir), "--count", str(count), "--formats", file_format, "--here"]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "few images")
    options.add_argument("run", type=Path, nargs="?", help="folder of a finished run of images")
    options.add_argument("--count", type=int, default=100_000, help="images of each format")
    options.add_argument("--formats", default=",".join(OUTPUTS["image"].formats))
    options.add_argument("--here", action="store_true", help="in this process")
    arguments = options.parse_args()
    count, formats = 1000 if arguments.short else arguments.count, arguments.formats.split(",")
    if arguments.here:
        print(json.dumps(written(arguments.run, formats[0], count)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run_dir = arguments.run or silogan.simulate("digits", Path(folder) / "run").folder
        show(measured([(name, run_dir, name, count) for name in formats], _apart), as_json=arguments.json)


if __name__ == "__main__":
    main()
