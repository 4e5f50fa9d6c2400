"""A release as one file: what was sealed is what verifies, and its bytes follow from its content."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan.common.errors import ConfigError, UsageError, VerificationError
from silogan.common.operations.release_key import fingerprint, public_pem
from silogan.server.release import sealed
from silogan.server.release.sealed import Accepted, Spent, Statement, seal, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STATEMENT = Statement(
    study="digits",
    title="Digits",
    study_id="a" * 64,
    created="2026-11-28T12:00:00+00:00",
    simulation=True,
    sites=(Spent("north", 9.981, 10.0, 1e-4, "patient"), Spent("south", 3.0, 4.0, 1e-4, "patient")),
    verdict="usable: good",
    accepted=None,
    memorisation="none found",
    marks=("SIMULATION",),
    licence="CC BY 4.0",
    contact="data@example.org",
)
FILES = {"datasheet.md": b"# sheet\n", "generator.safetensors": bytes(1000)}


def test_what_was_sealed_is_verified(tmp_path: Path) -> None:
    written = seal(tmp_path / "r.zip", STATEMENT, FILES, KEY)
    found = verify(tmp_path / "r.zip", KEY.public_key())
    assert found == written
    assert found.statement == STATEMENT
    assert [(file.name, file.bytes) for file in found.files] == [(name, len(each)) for name, each in FILES.items()]
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert archive.namelist() == ["manifest.json", "manifest.sig", *FILES]
        assert archive.read("generator.safetensors") == FILES["generator.safetensors"]


def test_bytes_follow_from_the_content_on_every_python(tmp_path: Path) -> None:
    """Recorded: were a library to write archives otherwise, old releases would not verify."""
    seal(tmp_path / "r.zip", STATEMENT, FILES, KEY)
    digest = hashlib.sha256((tmp_path / "r.zip").read_bytes()).hexdigest()
    assert digest == "39269808cea460020d727c50f4d6fd0ad7a43125f620fa7342007cbeeeda5337"


def test_the_statement_is_told_in_a_few_lines(tmp_path: Path) -> None:
    override = Accepted("Dr Berg", "for teaching")
    manifest = seal(tmp_path / "r.zip", replace(STATEMENT, accepted=override), FILES, KEY)
    told = "\n".join(manifest.told())
    assert "ε at most 9.981 for any one patient of a hospital, δ = 0.0001; 2 hospitals" in told
    assert "verdict accepted by Dr Berg: for teaching" in told
    assert "mark: SIMULATION" in told
    assert fingerprint(KEY.public_key()) in told


def test_values_of_different_delta_are_not_merged(tmp_path: Path) -> None:
    sites = (*STATEMENT.sites, Spent("east", 1.0, 2.0, 1e-6, "record"))
    told = "\n".join(seal(tmp_path / "r.zip", replace(STATEMENT, sites=sites), FILES, KEY).told())
    assert "ε at most 1 for any one record of a hospital, δ = 1e-06" in told
    assert "ε at most 9.981 for any one patient" in told


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_and_sha256_verify_it_without_silogan(tmp_path: Path) -> None:
    """As docs/release.md says."""
    seal(tmp_path / "r.zip", STATEMENT, FILES, KEY)
    (tmp_path / "release.pub").write_bytes(public_pem(KEY.public_key()))
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        archive.extractall(tmp_path)
    command = "openssl pkeyutl -verify -pubin -inkey release.pub -rawin -in manifest.json -sigfile manifest.sig"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr
    for file in json.loads((tmp_path / "manifest.json").read_bytes())["files"]:
        assert hashlib.sha256((tmp_path / file["name"]).read_bytes()).hexdigest() == file["sha256"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r.zip").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        seal(tmp_path / "r.zip", STATEMENT, FILES, KEY)
    assert (tmp_path / "r.zip").read_text() == "mine"


def test_what_is_too_large_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "MOST_BYTES", 1500)
    with pytest.raises(ConfigError, match="larger than"):
        seal(tmp_path / "r.zip", STATEMENT, FILES, KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        seal(tmp_path / "file" / "r.zip", STATEMENT, FILES, KEY)


def test_a_file_that_is_missing_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        verify(tmp_path / "none.zip", KEY.public_key())


def test_a_manifest_of_a_later_version_is_told_apart_from_a_forgery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "asdict", lambda manifest: {**asdict(manifest), "format": "silogan-release/2"})
    seal(tmp_path / "r.zip", STATEMENT, FILES, KEY)
    with pytest.raises(VerificationError, match=r"manifest of another form \(format\)"):
        verify(tmp_path / "r.zip", KEY.public_key())
