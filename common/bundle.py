"""The software as Flower ships it: an app bundle of the three packages that both sides run, and its digest.

A SuperNode is made to run whatever code a server ships. A hospital's node runs its own installed software instead, and
only where the bundle that the server submitted has the digest of that software: the two sides then run the same code.
"""

import hashlib
import io
import tomllib
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import common
from common.errors import VerificationError
from common.flower import toml_string
from common.plan import canonical_json

_PACKAGES = ("common", "client", "server")
_MANIFEST, _INFO = "pyproject.toml", ".info/"
_LARGEST = 2**26  # bytes of an unpacked bundle; ours has less than one

_APP = """\
[project]
name = "silogan"
version = "{version}"
description = "SiloGAN: private, federated GAN training"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "silogan"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
run-dir = {run_dir}
"""


def stage(folder: Path, run_dir: str = "") -> None:
    """Writes the app into a folder, as `flwr run` wants it: our three packages and nothing else.

    Args:
        folder: created; must not hold anything.
        run_dir: default of the configuration key `run-dir`, where `flwr run --run-config`, whose parser knows no
            escapes, cannot pass it.

    Raises:
        UnicodeEncodeError: `run_dir` is no text.
    """
    manifest = _APP.format(version=common.__version__, run_dir=toml_string(run_dir)).encode()
    for name, content in {_MANIFEST: manifest, **_modules()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@lru_cache(maxsize=1)
def installed_digest() -> str:
    """Digest of the bundle that `stage` would make of the software as it is installed here."""
    return _digest({_MANIFEST: _APP.format(version=common.__version__, run_dir='""').encode(), **_modules()})


def bundle_digest(bundle: bytes) -> str:
    """Digest of a bundle as a server ships it.

    Not the hash of the archive itself, which depends on the compressor's version.

    Raises:
        VerificationError: it is no bundle.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            members = [member for member in archive.infolist() if not member.filename.startswith(_INFO)]
            if sum(member.file_size for member in members) > _LARGEST:
                raise ValueError("too large")
            return _digest({member.filename: archive.read(member) for member in members})
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, NotImplementedError, RuntimeError):
        raise VerificationError("bundle", "cannot be read", "have the coordinator submit it again") from None


def _digest(files: dict[str, bytes]) -> str:
    """SHA-256 over all names and contents; of the manifest what it says, which Flower writes anew."""
    manifest: dict[str, Any] = tomllib.loads(files[_MANIFEST].decode())
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != _MANIFEST}
    return hashlib.sha256(canonical_json([manifest, hashes]).encode()).hexdigest()


def _modules() -> dict[str, bytes]:
    root = Path(common.__file__).parent.parent
    paths = (path for package in _PACKAGES for path in sorted((root / package).rglob("*.py")))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
