"""The whole federation, as `make federation` runs it, for two rounds: real processes, real TLS, real ledgers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()), reason="nginx is not installed (apt install nginx)"
)
def test_federation_ends_with_the_weights_of_the_simulation(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "simulations.rehearsal.federation",
        "--out",
        str(tmp_path / "federation"),
        "--rounds",
        "2",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "weights: identical to `silogan simulate`" in done.stdout
    assert done.stdout.count("verified") == 3
    released = tmp_path / "federation" / "coordinator" / "runs"
    assert len(list(released.glob("*/generator.safetensors"))) == 1
