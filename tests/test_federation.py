"""The whole federation, as `make federation` runs it, for images and a table: real processes, TLS and ledgers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SCENARIOS = ROOT / "simulations" / "scenarios"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()), reason="nginx is not installed (apt install nginx)"
)
def test_federation_ends_with_the_weights_of_the_simulation(tmp_path: Path) -> None:
    rows = yaml.safe_load((SCENARIOS / "breast-cancer.yaml").read_text(encoding="utf-8"))
    rows["model"] |= {"bins": 2, "components": 8, "steps": 50}  # as private, and fitted in less time
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(rows), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "silogan.simulations.rehearsal.federation", "--out", str(tmp_path / "federation")),
        *("--scenario", str(SCENARIOS / "digits-basic.yaml"), "--rounds", "2"),
        *("--scenario", str(tmp_path / "rows.yaml"), "--sites", "2"),  # a third one would do the same once more
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("digits-basic", "breast-cancer"):
        assert f"{name}: weights and generator identical to `silogan simulate`" in done.stdout
    assert done.stdout.count("verified") == 2
    released = tmp_path / "federation" / "coordinator" / "runs"
    assert len(list(released.glob("*/generator.safetensors"))) == 2
