import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from silogan.client.ledger.keys import SiteKey, is_signed
from silogan.common.errors import DataError, VerificationError

posix = pytest.mark.skipif(os.name != "posix", reason="this system has other permissions")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.key"


def of_another_kind(path: Path) -> None:
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_signature_is_of_one_message_under_one_key(path: Path, tmp_path: Path) -> None:
    key, other = SiteKey.create(path), SiteKey.create(tmp_path / "other.key")
    signature = key.sign(b"message")
    assert is_signed(b"message", signature, key.public)
    assert not is_signed(b"massage", signature, key.public)
    assert not is_signed(b"message", signature, other.public)
    assert not is_signed(b"message", other.sign(b"message"), key.public)


@pytest.mark.parametrize(
    ("signature", "public"), [("", None), ("00" * 64, None), ("zz", None), (None, "00"), (None, "x")]
)
def test_nonsense_is_no_signature(path: Path, signature: str | None, public: str | None) -> None:
    key = SiteKey.create(path)
    given = key.sign(b"message") if signature is None else signature
    assert not is_signed(b"message", given, key.public if public is None else public)


def test_key_is_the_same_when_it_is_read_again(path: Path) -> None:
    key = SiteKey.create(path)
    assert SiteKey.load(path).public == SiteKey.create(path).public == key.public
    assert is_signed(b"message", SiteKey.load(path).sign(b"message"), key.public)
    assert [file.name for file in path.parent.iterdir()] == ["site.key"], "something else was left behind"


@posix
def test_key_is_its_owner_s_alone(path: Path) -> None:
    SiteKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(VerificationError, match="open to other users"):
        SiteKey.load(path)


def test_keys_made_at_once_are_one(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({key.public for key in pool.map(SiteKey.create, [path] * 8)}) == 1


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xff" * 99), of_another_kind],
    ids=["missing", "empty", "bytes", "another kind"],
)
def test_file_without_a_key(path: Path, spoil: Callable[[Path], object]) -> None:
    SiteKey.create(path)
    spoil(path)
    with pytest.raises(DataError, match=r"site\.key.*not an Ed25519 key"):
        SiteKey.load(path)


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        SiteKey.create(tmp_path / "missing" / "site.key")
