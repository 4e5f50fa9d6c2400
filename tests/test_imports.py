"""The arrows between the packages: silogan → simulations → {client, server} → common."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT: dict[str, set[str]] = {
    "common": set(),
    "client": {"common"},
    "server": {"common"},
    "simulations": {"common", "client", "server"},
    "silogan": {"common", "client", "server", "simulations"},
}
OWN = {*MAY_IMPORT, "tests"}


def imported_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import in `source`, wherever it stands and also when given as a string.

    Relative imports are left out: they cannot leave their own top-level package.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                modules = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=args,
                keywords=keywords,
            ):
                values = [*args, *(keyword.value for keyword in keywords)]
                modules = [
                    value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
                ]
            case _:
                continue
        for module in modules:
            yield node.lineno, module.partition(".")[0]


def forbidden_imports(source: str, package: str) -> list[str]:
    """`line: package` of every import in `source` that `package` may not make."""
    forbidden = OWN - MAY_IMPORT[package] - {package}
    return [f"{line}: {name}" for line, name in imported_names(source) if name in forbidden]


def sources_of(package: str) -> list[Path]:
    """The Python files of a package, or the one file of a module."""
    return sorted((ROOT / package).rglob("*.py")) or [ROOT / f"{package}.py"]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_point_one_way(package: str) -> None:
    violations = {
        str(path.relative_to(ROOT)): found
        for path in sources_of(package)
        if (found := forbidden_imports(path.read_text(encoding="utf-8"), package))
    }
    assert violations == {}


def test_flower_bundle_is_complete_without_the_simulator() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns: list[str] = config["tool"]["flwr"]["app"]["fab-include"]
    bundled = {path for pattern in patterns for path in ROOT.glob(pattern)}

    assert {path.relative_to(ROOT).parts[0] for path in bundled} == {"common", "client", "server"}
    assert bundled == {path for package in ("common", "client", "server") for path in sources_of(package)}
    for path in bundled:
        names = {name for _, name in imported_names(path.read_text(encoding="utf-8"))}
        assert names.isdisjoint({"simulations", "silogan", "tests"}), path


@pytest.mark.parametrize(
    "statement",
    [
        "import server",
        "import numpy, server.rounds.strategy as s",
        "from server import app",
        "from server.rounds.strategy import Strategy",
        "def late():\n    from server.rounds.strategy import Strategy",
        "if TYPE_CHECKING:\n    import server.rounds.strategy",
        "try:\n    import server\nexcept ImportError:\n    pass",
        "importlib.import_module('server.app')",
        "import_module(name='server.app')",
        "import_module('.app', package='server')",
        "__import__('server')",
        "import simulations.grid",
        "import silogan",
        "import tests.conftest",
    ],
)
def test_forbidden_import_is_caught(statement: str) -> None:
    assert len(forbidden_imports(statement, "client")) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "import common.errors",
        "from common import errors",
        "from client.ledger.ledger import Ledger",
        "from . import server",
        "from .server import Connection",
        "import servers",
        "from flwr.server import Grid",
        "importlib.import_module('common.errors')",
        "print('server')",
    ],
)
def test_allowed_import_passes(statement: str) -> None:
    assert forbidden_imports(statement, "client") == []


@pytest.mark.parametrize(
    ("package", "imported"),
    [
        ("common", "client"),
        ("common", "server"),
        ("common", "simulations"),
        ("client", "server"),
        ("server", "client"),
        ("server", "simulations"),
        ("simulations", "silogan"),
    ],
)
def test_arrow_is_refused(package: str, imported: str) -> None:
    assert forbidden_imports(f"import {imported}", package) == [f"1: {imported}"]
