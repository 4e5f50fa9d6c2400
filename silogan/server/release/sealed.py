"""A release as one file: what it holds, what its coordinator says of it, and a signature over both.

The file is a ZIP archive whose bytes follow from its content: members are stored, not compressed, in a fixed order and
with a fixed date. So a recipient writes it anew from what it read, and must come to the same bytes: nothing can be
changed, appended, hidden between members or left out. First stand

manifest.json  the statement, and name, size and SHA-256 of every other file
manifest.sig   the Ed25519 signature (64 bytes, RFC 8032) of the bytes of manifest.json, which openssl checks too

Whoever writes such a file is not to be trusted before the signature holds, and nothing is unpacked then either.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Delta, Text
from silogan.common.errors import ConfigError, UsageError, VerificationError
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.operations.release_key import fingerprint, is_signed
from silogan.common.pages.words import counted, epsilon

FORMAT = "silogan-release/1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"

MOST_BYTES = 2**28
"""Of a release: 256 MiB, four times what the largest generator takes."""

MOST_FILES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}\.[a-z0-9]{1,20}")
_DATE = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644 << 16
_AGAIN = "do not use it; ask for the file again"

_Line = Annotated[str, Field(max_length=4000)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=STRICT)
class Spent:
    """What a hospital's patients paid: ε at δ, of its budget; ε is that of all its runs on the same patients."""

    name: Text
    epsilon: Annotated[float, Field(ge=0, le=1e9)]
    budget: Annotated[float, Field(ge=0, le=1e9)]
    delta: Delta
    unit: Text


@dataclass(frozen=True, config=STRICT)
class Accepted:
    """Who takes responsibility for a verdict that is not `usable`, and why."""

    name: Text
    reason: Text


@dataclass(frozen=True, config=STRICT)
class Statement:
    """What the coordinator says of a release.

    Attributes:
        study, title: its names.
        study_id: SHA-256 that identifies it.
        created: when the release was made, ISO 8601.
        simulation: whether its hospitals were simulated on one machine.
        sites: what each hospital's patients paid.
        verdict: what the records are good for, and why.
        accepted: who accepted a verdict that is not `usable`; None where that was not needed.
        memorisation: whether copies of training records were looked for, and found.
        marks: what must be said of all that is drawn.
        licence, contact: of the data sheet.
    """

    study: Text
    title: Text
    study_id: _Digest
    created: Text
    simulation: bool
    sites: Annotated[tuple[Spent, ...], Field(strict=False, max_length=5000)]
    verdict: _Line
    accepted: Accepted | None
    memorisation: _Line
    marks: Annotated[tuple[_Line, ...], Field(strict=False, max_length=20)]
    licence: _Line
    contact: _Line


@dataclass(frozen=True, config=STRICT)
class File:
    """A file of a release."""

    name: Annotated[str, Field(pattern=_NAME)]
    bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    sha256: _Digest


@dataclass(frozen=True, config=STRICT)
class Manifest:
    """What is signed: the statement and the files, in their order, and the fingerprint of the key."""

    format: Literal["silogan-release/1"]
    statement: Statement
    key: _Digest
    files: Annotated[tuple[File, ...], Field(strict=False, max_length=MOST_FILES)]

    def told(self) -> list[str]:
        """The statement in a few lines."""
        said = self.statement
        groups = {(site.delta, site.unit) for site in said.sites}
        spent: list[str] = []
        for delta, unit in sorted(groups):
            most = max(site.epsilon for site in said.sites if (site.delta, site.unit) == (delta, unit))
            spent.append(f"ε at most {epsilon(most)} for any one {unit} of a hospital, δ = {delta:g}")
        override = said.accepted and f"verdict accepted by {said.accepted.name}: {said.accepted.reason}"
        return [
            f"study: {said.title or said.study} ({said.study_id[:16]}…), released {said.created}",
            *[f"mark: {mark}" for mark in said.marks],
            f"privacy: {'; '.join(spent)}; {counted(len(said.sites), 'hospital')}",
            f"verdict: {said.verdict}",
            f"overrides: {override or 'none'}",
            f"memorisation: {said.memorisation}",
            f"licence: {said.licence}",
            f"contact: {said.contact}",
            f"signed by: {self.key}",
        ]


_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def seal(path: Path, statement: Statement, files: Mapping[str, bytes], key: Ed25519PrivateKey) -> Manifest:
    """Writes a release; the same content and key give the same bytes.

    Args:
        path: a new file.
        statement: what is said of it.
        files: their content by their names, in the order in which they are to stand.
        key: that signs.

    Raises:
        UsageError: the file exists.
        ConfigError: it cannot be written, or would be larger than `MOST_BYTES`.
    """
    if path.exists():
        raise UsageError(f"--out {path}", "exists already", "choose a new name: releases are never overwritten")
    listed = tuple(File(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items())
    manifest = Manifest(FORMAT, statement, fingerprint(key.public_key()), listed)
    text = f"{json.dumps(asdict(manifest), indent=1, ensure_ascii=False)}\n".encode()
    content = _archive({MANIFEST: text, SIGNATURE: key.sign(text), **files})
    if len(content) > MOST_BYTES:
        raise ConfigError("release", f"would be larger than {MOST_BYTES >> 20} MiB", "release a smaller generator")
    with writing(f"--out {path}", "choose another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, content)
    return manifest


def verify(path: Path, key: Ed25519PublicKey) -> Manifest:
    """Checks a release: the signature, every file, and that there is nothing else. Unpacks nothing.

    Raises:
        ConfigError: the file cannot be read.
        VerificationError: what is wrong with it.
    """
    content, thing = _content(path), f"release '{path.name}'"
    members = _members(content, thing)
    text, signature = members.get(MANIFEST), members.get(SIGNATURE)
    if text is None or signature is None or list(members)[:2] != [MANIFEST, SIGNATURE]:
        raise VerificationError(thing, "does not begin with a manifest and its signature", _AGAIN)
    if not is_signed(text, signature, key):
        problem = f"is not signed by this key ({fingerprint(key)[:16]}…), or its manifest was changed"
        raise VerificationError(thing, problem, f"{_AGAIN}, and compare the key with its owner's")
    manifest = _parsed(text, thing)
    listed, there = {file.name: file for file in manifest.files}, dict(list(members.items())[2:])
    for name in listed:
        if name not in there:
            raise VerificationError(thing, f"lacks {name}", _AGAIN)
    for name, found in there.items():
        if name not in listed:
            raise VerificationError(thing, f"holds {name}, which its manifest does not name", _AGAIN)
        if hashlib.sha256(found).hexdigest() != listed[name].sha256:
            raise VerificationError(thing, f"has a changed {name}", _AGAIN)
    if list(there) != list(listed):
        raise VerificationError(thing, "has its files in another order", _AGAIN)
    if _archive(members) != content:
        raise VerificationError(thing, "has bytes that belong to no file: something was changed or appended", _AGAIN)
    return manifest


def _archive(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive whose bytes follow from the names, contents and order of its members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, _REGULAR_FILE  # as on Unix, wherever it is made
            archive.writestr(info, content, zipfile.ZIP_STORED)
    return file.getvalue()


def _content(path: Path) -> bytes:
    if not path.is_file():  # a pipe, for example, would be waited for
        raise ConfigError(f"release '{path}'", "is not a file", "give the file that the coordinator sent")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"release '{path}'", f"cannot be read ({error.strerror})", "check the path") from None
    if len(content) > MOST_BYTES:
        raise VerificationError(f"release '{path.name}'", f"is larger than {MOST_BYTES >> 20} MiB", _AGAIN)
    return content


def _members(content: bytes, thing: str) -> dict[str, bytes]:
    """The members of an archive, in their order; together they are no larger than the archive."""
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            listed = archive.infolist()
            problem = _objection(listed, len(content))
            if problem is None:
                members = {one.filename: archive.read(one) for one in listed}
    except Exception:  # whatever zipfile makes of hostile bytes
        raise VerificationError(thing, "is cut off, damaged or not a release", _AGAIN) from None
    if problem is not None:
        raise VerificationError(thing, problem, _AGAIN)
    return members


def _objection(listed: list[zipfile.ZipInfo], size: int) -> str | None:
    """What is wrong with an archive's list of members, before any is read."""
    names = [one.filename for one in listed]
    if len(names) > MOST_FILES + 2:
        return f"holds more than {MOST_FILES} files"
    if len(set(names)) < len(names):
        return "holds two files of one name"
    if not all(map(_NAME.fullmatch, names)):
        return "holds a file under a name that a release does not have"
    if any(one.compress_type != zipfile.ZIP_STORED for one in listed):
        return "holds a compressed file"
    if sum(one.file_size for one in listed) > size:
        return "holds files that claim to be larger than all of it"
    return None


def _parsed(text: bytes, thing: str) -> Manifest:
    try:
        return _MANIFEST.validate_json(text)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        hint = "verify it with the version of silogan that made it"
        raise VerificationError(thing, f"has a manifest of another form ({where or 'no JSON'})", hint) from None
