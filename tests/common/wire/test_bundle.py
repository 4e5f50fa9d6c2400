import io
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from silogan.common.errors import VerificationError
from silogan.common.wire import bundle

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bundle that Flower makes of the staged app."""
    app = tmp_path_factory.mktemp("stage") / "app"
    bundle.stage(app)
    return build_fab_from_disk(app)


def with_change(shipped: bytes, name: str, change: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The same archive with something appended to one member, which is made if there is none."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(shipped)) as old, zipfile.ZipFile(made, "w", compression) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member) + (change if member == name else b""))
        if name not in old.namelist():
            new.writestr(name, change)
    return made.getvalue()


def test_what_flower_ships_is_what_is_installed(shipped: bytes) -> None:
    assert bundle.bundle_digest(shipped) == bundle.installed_digest()


def test_digest_does_not_depend_on_the_compressor(shipped: bytes) -> None:
    other = with_change(shipped, "silogan/client/app.py", b"", zipfile.ZIP_STORED)
    assert other != shipped
    assert bundle.bundle_digest(other) == bundle.installed_digest()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("silogan/client/app.py", b"\n"),
        ("silogan/client/training/trainer.py", b"# more\n"),
        ("silogan/common/pages/page.py", b"# what a page shows\n"),
        ("silogan/client/new.py", b""),
        ("data/x.bin", b"x"),
    ],
)
def test_any_change_shows(shipped: bytes, name: str, change: bytes) -> None:
    assert bundle.bundle_digest(with_change(shipped, name, change)) != bundle.installed_digest()


def test_a_changed_manifest_shows(shipped: bytes) -> None:
    other = with_change(shipped, "pyproject.toml", b'\n[tool.flwr.app.more]\nkey = "value"\n')
    assert bundle.bundle_digest(other) != bundle.installed_digest()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(VerificationError, match="bundle: cannot be read"):
        bundle.bundle_digest(content)


def test_a_bundle_without_a_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fab"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("silogan/client/app.py", "")
    with pytest.raises(VerificationError):
        bundle.bundle_digest(path.read_bytes())
