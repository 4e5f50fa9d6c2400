"""Flower's app bundle of the three packages that both sides run, and its digest.

Flower's SuperNode runs whatever code a server ships. A hospital's node runs its own installed software instead, and
only if the server's bundle has the digest of that software: both sides then run the same code.
"""

import hashlib
import io
import re
import tomllib
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import silogan
from silogan.common.errors import VerificationError
from silogan.common.operations.flower import toml_string
from silogan.common.privacy.plan import canonical_json

_ROOMS = ("common", "client", "server")
_MANIFEST, _INFO = "pyproject.toml", ".info/"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}(/[A-Za-z0-9_.-]{1,100}){0,7}")
# Ours has less than 1 MB in some 140 files, which Flower does not compress.
_LARGEST_ARCHIVE, _LARGEST, _MOST_MEMBERS, _MOST_RATIO = 2**22, 2**24, 1000, 100
_LARGEST_MANIFEST = 2**16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CENTRAL = b"PK\x01\x02"  # begins each line of an archive's table of contents

_APP = """\
[project]
name = "silogan"
version = "{version}"
description = "SiloGAN: private, federated GAN training"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "silogan"

[tool.flwr.app.components]
serverapp = "silogan.server.app:app"
clientapp = "silogan.client.app:app"

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
        UnicodeEncodeError: `run_dir` is not valid text.
    """
    manifest = _APP.format(version=silogan.__version__, run_dir=toml_string(run_dir)).encode()
    for name, content in {_MANIFEST: manifest, **_modules()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@lru_cache(maxsize=1)
def installed_digest() -> str:
    """Digest of the bundle that `stage` would make of the software as it is installed here."""
    return _digest({_MANIFEST: _APP.format(version=silogan.__version__, run_dir='""').encode(), **_modules()})


def bundle_digest(bundle: bytes) -> str:
    """Digest of a bundle as a server ships it.

    Not the hash of the archive itself, which depends on the compressor's version. What the archive says of itself is
    held against bounds before anything of it is unpacked.

    Raises:
        VerificationError: it is not a bundle, or larger than any valid one.
    """
    hint = "have the coordinator submit it again"
    try:
        with _opened(bundle) as archive:
            members = [member for member in _bounded(archive) if not member.filename.startswith(_INFO)]
            return _digest({member.filename: _content(archive, member) for member in members})
    except _ExcessError as excess:
        raise VerificationError("bundle", str(excess), hint) from None
    except Exception:  # whatever zip and TOML make of hostile bytes
        raise VerificationError("bundle", "cannot be read", hint) from None


class _ExcessError(Exception):
    """A bundle is more than any that we make; the text says in what."""


def _opened(bundle: bytes) -> zipfile.ZipFile:
    if len(bundle) > _LARGEST_ARCHIVE:
        raise _ExcessError(f"is longer than {_LARGEST_ARCHIVE} bytes")
    if bundle.count(_CENTRAL) > _MOST_MEMBERS:  # before an object is made for each of them
        raise _ExcessError(f"has more than {_MOST_MEMBERS} files")
    return zipfile.ZipFile(io.BytesIO(bundle))


def _bounded(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members of an archive, if what is declared of them is possible; none yields more than it declares."""
    members = archive.infolist()
    names = {member.filename for member in members}
    largest = sum(member.file_size for member in members)
    manifest = archive.getinfo(_MANIFEST).file_size if _MANIFEST in names else 0
    tight = any(member.file_size > _MOST_RATIO * (member.compress_size + 10) for member in members)
    for applies, problem in (
        (len(names) < len(members), "holds a file twice"),
        (not all(_is_name(name) for name in names), "holds a file whose name is not a module's"),
        (any(member.compress_type not in _METHODS for member in members), "uses another compression method"),
        (largest > _LARGEST or manifest > _LARGEST_MANIFEST, "is too large when unpacked"),
        (tight, "has too high a compression ratio"),
    ):
        if applies:
            raise _ExcessError(problem)
    return members


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member unpacked; `ZipFile.read` would first unpack all that there is, whatever was declared."""
    with archive.open(member) as file:
        return file.read(member.file_size + 1)


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name.split("/")


def _digest(files: dict[str, bytes]) -> str:
    """SHA-256 over all names and contents; of the manifest only its values, since Flower rewrites it."""
    manifest: dict[str, Any] = tomllib.loads(files[_MANIFEST].decode())
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != _MANIFEST}
    return hashlib.sha256(canonical_json([manifest, hashes]).encode()).hexdigest()


def _modules() -> dict[str, bytes]:
    package = Path(silogan.__file__).parent
    paths = [package / "__init__.py", *(path for room in _ROOMS for path in sorted((package / room).rglob("*.py")))]
    return {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in paths}
