"""Bundles that mean harm: one line that says so, before anything is unpacked.

On 97d0510 an archive packed by LZMA, with damaged deflate data or cut short let LZMAError, zlib.error and EOFError out
of the executor (501 of 6,000 mutations), and 0.3 MB that declare five bytes took 600 MB.
"""

import io
import struct
import zipfile
from random import Random

import pytest

from silogan.common.errors import VerificationError
from silogan.common.wire.bundle import bundle_digest, installed_digest, stage
from silogan.simulations.fuzz.content import bytes_file, zip_file
from silogan.simulations.fuzz.trial import MOST_BYTES, peak, reset_peak


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    app = tmp_path_factory.mktemp("hostile") / "app"
    stage(app)
    return {path.relative_to(app).as_posix(): path.read_bytes() for path in sorted(app.rglob("*")) if path.is_file()}


def refused(content: bytes) -> str:
    before = reset_peak()
    with pytest.raises(VerificationError) as caught:
        bundle_digest(content)
    assert peak() - before < MOST_BYTES
    assert len(str(caught.value)) < 200
    return caught.value.problem


def declared(content: bytes, size: int) -> bytes:
    """The archive with another size of its last member."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", changed, changed.rfind(signature) + offset, size)
    return bytes(changed)


def test_what_is_shipped_is_known_packed_or_not(shipped: dict[str, bytes]) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert bundle_digest(archive(shipped, method)) == installed_digest()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_method_is_refused(shipped: dict[str, bytes], method: int) -> None:
    assert refused(archive(shipped, method)) == "uses another compression method"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"client/x.py": bytes(2**24)}, "is too large when unpacked"),
        ({"client/x.py": bytes(2**20)}, "has too high a compression ratio"),
        ({f"client/x{number}.py": b"" for number in range(1001)}, "has more than 1000 files"),
        ({"../x.py": b""}, "holds a file whose name is not a module's"),
        ({"/x.py": b""}, "holds a file whose name is not a module's"),
        ({"client/\x1b[2J.py": b""}, "holds a file whose name is not a module's"),
        ({"client/" + "x" * 5000: b""}, "holds a file whose name is not a module's"),
        ({"pyproject.toml": b"#" * 2**17}, "is too large when unpacked"),
        ({"pyproject.toml": b"a = " + b"[" * 60_000}, "cannot be read"),
        ({"pyproject.toml": b"a = 2020-01-01"}, "cannot be read"),
        ({"pyproject.toml": b"\xff"}, "cannot be read"),
    ],
    ids=range(11),
)
def test_an_archive_beyond_bounds_is_refused(shipped: dict[str, bytes], more: dict[str, bytes], problem: str) -> None:
    method = zipfile.ZIP_STORED if "pyproject.toml" in more else zipfile.ZIP_DEFLATED
    assert refused(archive({**shipped, **more}, method)) == problem


def test_a_long_archive_is_refused_unread() -> None:
    assert refused(bytes(2**22 + 1)) == "is longer than 4194304 bytes"


def test_a_member_yields_no_more_than_it_declares(shipped: dict[str, bytes]) -> None:
    bomb = archive({**shipped, "client/x.py": bytes(2**29)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**21
    assert refused(declared(bomb, 5)) == "cannot be read"


def test_a_file_twice_is_refused(shipped: dict[str, bytes]) -> None:
    made = io.BytesIO(archive(shipped))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(made, "a") as file:
        file.writestr("silogan/client/app.py", b"")
    assert refused(made.getvalue()) == "holds a file twice"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_mutated_bundles_are_refused_in_one_line_or_have_another_digest(shipped: dict[str, bytes], method: int) -> None:
    content, mutate, seen = archive(shipped, method), zip_file(), set[str]()
    for index in range(60):
        rng = Random(index)  # noqa: S311  (to be repeated)
        changed = bytes_file(rng, content) if index % 2 else mutate(rng, content)
        try:
            seen.add(bundle_digest(changed))
        except VerificationError as error:
            seen.add(error.problem)
    assert "cannot be read" in seen
    assert len(seen) > 3
