from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from silogan.common.errors import ConfigError, FederationError, VerificationError
from silogan.server.operations.enrolment import SITES_FILE, Enrolment
from silogan.server.operations.nodes import NodeFacts, key_bytes


def new_key(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | None = None) -> str:
    public = (private or ec.generate_private_key(ec.SECP384R1())).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class Link:
    """A SuperLink that numbers nodes, and fails when it is told to."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}
        self.keys: dict[int, bytes] = {}
        self.fails = False
        self.last = 0

    def register(self, name: str, public_key: str) -> int:
        if self.fails:
            raise FederationError("SuperLink", "does not answer", "wait")
        self.last += 1
        self.known[self.last] = name
        self.keys[self.last] = key_bytes(public_key)
        return self.last

    def nodes(self) -> dict[int, NodeFacts]:
        status = {number: "online" if number in self.known else "unregistered" for number in self.keys}
        return {number: NodeFacts(status[number], key, None) for number, key in self.keys.items()}

    def unregister(self, node: int) -> None:
        del self.known[node]


@pytest.fixture
def enrolment(tmp_path: Path) -> Enrolment:
    return Enrolment(tmp_path)


def test_sites_are_kept_and_told_once(enrolment: Enrolment) -> None:
    link = Link()
    enrolment.enrol("oslo", new_key(), 200)
    enrolment.enrol("bergen", new_key(), 300)
    for _ in range(2):
        enrolment.tell(link)  # type: ignore[arg-type]
    assert list(enrolment.all()) == ["bergen", "oslo"]
    assert sorted(link.known.values()) == ["bergen", "oslo"]
    assert enrolment.all()["bergen"].declared_size == 300


def test_a_new_key_replaces_the_old_one(enrolment: Enrolment) -> None:
    link = Link()
    enrolment.enrol("bergen", new_key(), 300)
    enrolment.tell(link)  # type: ignore[arg-type]
    enrolment.enrol("bergen", new_key(), 300)
    link.fails = True
    problems = enrolment.tell(link)  # type: ignore[arg-type]
    assert "does not answer" in problems["bergen"]
    assert link.known == {}  # the old key was taken back at once
    link.fails = False
    enrolment.tell(link)  # type: ignore[arg-type]
    assert link.known == {2: "bergen"}


def test_a_removed_site_is_let_in_no_more(enrolment: Enrolment) -> None:
    link = Link()
    enrolment.enrol("bergen", new_key(), 300)
    enrolment.tell(link)  # type: ignore[arg-type]
    enrolment.remove("bergen")
    enrolment.tell(link)  # type: ignore[arg-type]
    assert link.known == {}
    assert enrolment.all() == {}
    with pytest.raises(ConfigError, match="is not enrolled"):
        enrolment.remove("bergen")


def test_a_key_is_one_hospitals(enrolment: Enrolment) -> None:
    key = new_key()
    enrolment.enrol("bergen", key, 300)
    with pytest.raises(ConfigError, match="is already the key of 'bergen'"):
        enrolment.enrol("oslo", f"{key} comment", 300)


@pytest.mark.parametrize(
    "key", ["", "ssh-rsa AAAA", new_key(ed25519.Ed25519PrivateKey.generate())], ids=["empty", "rsa", "ed25519"]
)
def test_what_is_no_node_key_is_refused(enrolment: Enrolment, key: str) -> None:
    with pytest.raises(ConfigError, match="not an ECDSA public key"):
        enrolment.enrol("bergen", key, 300)
    assert enrolment.all() == {}


@pytest.mark.parametrize("content", ["{", "[1]", '[{"name": "x"}]', '{"a": 1}'])
def test_a_damaged_file_is_not_an_empty_one(enrolment: Enrolment, tmp_path: Path, content: str) -> None:
    (tmp_path / SITES_FILE).write_text(content)
    with pytest.raises(VerificationError, match="is damaged"):
        enrolment.all()
    with pytest.raises(VerificationError):
        enrolment.enrol("bergen", new_key(), 300)
    assert (tmp_path / SITES_FILE).read_text() == content
