"""Keys under a passphrase: who has the folder and not the passphrase has no key."""

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from silogan.client.ledger import passphrase
from silogan.client.ledger.keys import SiteKey
from silogan.client.node.node import SITE_KEY
from silogan.client.node.node_key import NODE_KEY, create_node_key, node_public_key
from silogan.client.node.protection import are_protected, protect, unprotect
from silogan.common.errors import ConfigError, DataError, UsageError, VerificationError

WORD, OTHER = b"correct horse battery staple", "zwölf Boxkämpfer".encode()


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    passphrase.remember(b"")
    yield
    passphrase.remember(b"")


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "node"
    made.mkdir()
    SiteKey.create(made / SITE_KEY)
    create_node_key(made)
    return made


def publics(folder: Path) -> tuple[str, str]:
    return SiteKey.load(folder / SITE_KEY).public, node_public_key(folder)


def give(credentials: Path, word: bytes | None, new: bytes | None = None) -> None:
    for name, content in ((passphrase.CREDENTIAL, word), (passphrase.NEW_CREDENTIAL, new)):
        (credentials / name).unlink(missing_ok=True)
        if content is not None:
            (credentials / name).write_bytes(content + b"\n")
    passphrase.remember(b"")


def test_keys_are_the_same_under_a_passphrase_another_and_none(folder: Path, credentials: Path) -> None:
    before = publics(folder)
    assert not are_protected(folder)
    for old, new in ((None, WORD), (WORD, OTHER)):
        give(credentials, old, new)
        protect(folder)
        assert are_protected(folder)
        give(credentials, new)
        assert publics(folder) == before
    unprotect(folder)
    give(credentials, None)
    assert publics(folder) == before
    assert {file.name for file in folder.iterdir()} == {".lock", NODE_KEY, "node.pub", SITE_KEY}


def test_no_file_holds_the_key_any_more(folder: Path, credentials: Path) -> None:
    secrets = [(folder / name).read_bytes().splitlines()[1] for name in (SITE_KEY, NODE_KEY)]
    give(credentials, None, WORD)
    protect(folder)
    kept = b"".join(file.read_bytes() for file in folder.iterdir())
    assert not [one for one in secrets if one in kept]
    assert b"PRIVATE KEY" not in kept
    for name in (SITE_KEY, NODE_KEY):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
        with pytest.raises(ValueError, match="password"):
            pkcs12.load_key_and_certificates((folder / name).read_bytes(), b"")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_another_tool_opens_them_and_names_the_scheme(folder: Path, credentials: Path) -> None:
    give(credentials, None, WORD)
    protect(folder)
    asked = ["openssl", "pkcs12", "-in", str(folder / SITE_KEY), "-info", "-nodes", "-passin", f"pass:{WORD.decode()}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "BEGIN PRIVATE KEY" in found.stdout
    assert "PBES2, PBKDF2, AES-256-CBC, Iteration 600000, PRF hmacWithSHA256" in found.stderr


@pytest.mark.parametrize("word", [OTHER, b"", b"x" * 2000, b"a\nb"])
def test_wrong_or_impossible_passphrase_opens_nothing(folder: Path, credentials: Path, word: bytes) -> None:
    give(credentials, None, WORD)
    protect(folder)
    before = [(folder / name).read_bytes() for name in (SITE_KEY, NODE_KEY)]
    give(credentials, word, OTHER)
    for act in (lambda: SiteKey.load(folder / SITE_KEY), lambda: protect(folder), lambda: unprotect(folder)):
        with pytest.raises((VerificationError, UsageError), match=r"does not open with this passphrase|not one line"):
            act()
    assert [(folder / name).read_bytes() for name in (SITE_KEY, NODE_KEY)] == before


def test_where_nobody_can_be_asked_the_mend_is_named(
    folder: Path, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match=r"there is no terminal to ask on.*silogan\.new-passphrase"):
        protect(folder)
    give(credentials, None, WORD)
    protect(folder)
    give(credentials, None)
    with pytest.raises(UsageError, match=r"there is no terminal to ask on.*credential silogan\.passphrase"):
        SiteKey.load(folder / SITE_KEY)


def test_a_killed_change_is_ended_by_the_next_one(
    folder: Path, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = publics(folder)
    give(credentials, None, WORD)
    protect(folder)
    half = (folder / NODE_KEY).read_bytes()
    give(credentials, WORD, OTHER)
    protect(folder)
    (folder / NODE_KEY).write_bytes(half)  # as where it was killed between the two
    answers = iter([OTHER.decode(), WORD.decode(), "third", "third"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    monkeypatch.setattr("sys.stdin", _Terminal())
    give(credentials, None)
    protect(folder)
    give(credentials, b"third")
    assert publics(folder) == before


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_two_answers_that_differ_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("sys.stdin", _Terminal())
    answers = iter(["one", "two"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    with pytest.raises(UsageError, match="differs from the first one"):
        protect(folder)
    assert not are_protected(folder)


@pytest.mark.parametrize("name", [SITE_KEY, NODE_KEY])
def test_a_key_that_is_missing_is_named(folder: Path, credentials: Path, name: str) -> None:
    (folder / name).unlink()
    give(credentials, None, WORD)
    with pytest.raises(DataError, match=f"key '{name}'"):
        protect(folder)


def test_a_passphrase_is_handed_to_a_service_and_to_nobody_else() -> None:
    passphrase.remember(WORD)
    handed = passphrase.handed_over()
    passphrase.remember(b"")
    passphrase.take_over(io.BytesIO(handed))
    assert passphrase.passphrase() == WORD
    assert WORD.decode() not in os.environ.values()


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    for act in (protect, unprotect):
        with pytest.raises(ConfigError, match=r"node '.*nowhere': is not there"):
            act(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
