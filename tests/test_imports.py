"""The arrows between the packages, cli → simulations → {client, server} → common, and between the rooms of each."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from silogan.common.wire import bundle

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "silogan"

MAY_IMPORT: dict[str, set[str]] = {
    "common": set(),
    "client": {"common"},
    "server": {"common"},
    "simulations": {"common", "client", "server"},
    "run": {"common", "client", "server", "simulations"},
    "cli": {"common", "client", "server", "simulations"},
}
OWN = {*MAY_IMPORT, "__main__", "tests"}

BASE = "base"
"""The modules of `common` that lie in no room, as `common/errors.py`."""

ROOMS: dict[str, dict[str, set[str]]] = {
    "common": {
        BASE: set(),
        "modality": {BASE},
        "config": {BASE, "modality"},  # a scenario says which records, by the options of their kind
        "privacy": {BASE, "config", "modality"},
        "models": {BASE, "config", "modality"},
        "pages": {BASE, "privacy"},
        "operations": {BASE},
        "wire": {BASE, "config", "modality", "privacy", "models", "operations"},  # a bundle is written for Flower
    },
    "client": {
        "mechanism": set(),
        "data": set(),
        "describe": set(),
        "training": {"mechanism", "data"},
        "ledger": {"data"},  # what is registered are fingerprints of the data
        "state": set(),
        "round": {"state", "training", "ledger", "mechanism", "data"},
        "simulated": {"round", "ledger", "data"},
        "answer": {"round"},
        "node": {"answer", "round", "ledger", "data"},
        "app": {"answer", "round", "simulated"},
        "commands": {"node", "ledger", "data"},
    },
    "server": {
        "fitting": {"evaluation"},  # which fit teaches a classifier best
        "release": {"report"},  # what has failed is not drawn from
        "evaluation": set(),
        "report": set(),
        "tracking": {"rounds"},  # its events
        "rounds": {"fitting", "release"},  # the samples that are drawn after a round
        "explore": {"rounds", "release"},  # the critic lies in a checkpoint
        "operations": {"rounds", "report"},  # the verdict of a run that it shows
        "app": {"rounds", "fitting", "release"},
        "commands": {"operations", "rounds", "fitting"},
    },
}
"""What each room may import of its own package; a module beside the rooms of client or server is one of its own."""


def room_of(module: str) -> str:
    """The room of a module: its second name, or the base of common."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return name if package != "common" or ((PACKAGE / package / name).is_dir() and name) else BASE


def imports_between_rooms(source: str, package: str, room: str) -> list[str]:
    """`line: room` of every import in `source`, of a room of `package`, that the room may not make."""
    allowed = {room, *ROOMS[package][room]}
    found = ((line, module) for line, module in imported_modules(source) if module.partition(".")[0] == package)
    return [f"{line}: {room_of(module)}" for line, module in found if room_of(module) not in allowed]


def imported_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import in `source`."""
    return ((line, module.partition(".")[0]) for line, module in imported_modules(source))


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Line and whole name of every import in `source`, wherever it stands and also when given as a string.

    Without `silogan.` before them, so that what remains begins with one of its packages. Relative imports are left out:
    there are none.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                modules = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                modules = [f"{module}.{alias.name}" for alias in aliases]
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
            yield node.lineno, module.removeprefix("silogan.")


def forbidden_imports(source: str, package: str) -> list[str]:
    """`line: package` of every import in `source` that `package` may not make."""
    forbidden = OWN - MAY_IMPORT[package] - {package}
    return [f"{line}: {name}" for line, name in imported_names(source) if name in forbidden]


def sources_of(package: str) -> list[Path]:
    """The Python files of a package, or the one file of a module."""
    return sorted((PACKAGE / package).rglob("*.py")) or [PACKAGE / f"{package}.py"]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_point_one_way(package: str) -> None:
    violations = {
        str(path.relative_to(ROOT)): found
        for path in sources_of(package)
        if (found := forbidden_imports(path.read_text(encoding="utf-8"), package))
    }
    assert violations == {}


@pytest.mark.parametrize("package", ROOMS)
def test_arrows_between_rooms_point_one_way(package: str) -> None:
    violations = {
        str(path.relative_to(ROOT)): found
        for path in sources_of(package)
        if path.parent != PACKAGE / package or path.name != "__init__.py"
        if (found := imports_between_rooms(path.read_text(encoding="utf-8"), package, _room_of_file(path)))
    }
    assert violations == {}


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_have_no_circles(package: str) -> None:
    order: list[str] = []
    while len(order) < len(ROOMS[package]):
        ready = [room for room, above in ROOMS[package].items() if room not in order and above <= {*order}]
        assert ready, f"{sorted({*ROOMS[package]} - {*order})} import each other"
        order += ready


def _room_of_file(path: Path) -> str:
    return room_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def test_what_hospitals_get_is_complete_without_the_simulator(tmp_path: Path) -> None:
    bundle.stage(tmp_path / "app")
    bundled = {path.relative_to(tmp_path / "app") for path in (tmp_path / "app").rglob("*.py")}

    rooms = {path.relative_to(ROOT) for package in ("common", "client", "server") for path in sources_of(package)}
    assert bundled == {Path("silogan/__init__.py"), *rooms}
    for path in bundled:
        names = {name for _, name in imported_names((ROOT / path).read_text(encoding="utf-8"))}
        assert names.isdisjoint({"simulations", "cli", "tests"}), path
        assert "run" not in names or path == Path("silogan/__init__.py"), (
            path
        )  # there it is imported when it is asked for


@pytest.mark.parametrize(
    "statement",
    [
        "import silogan.server",
        "import numpy, silogan.server.rounds.strategy as s",
        "from silogan.server import app",
        "from silogan.server.rounds.strategy import Strategy",
        "def late():\n    from silogan.server.rounds.strategy import Strategy",
        "if TYPE_CHECKING:\n    import silogan.server.rounds.strategy",
        "try:\n    import silogan.server\nexcept ImportError:\n    pass",
        "importlib.import_module('silogan.server.app')",
        "import_module(name='silogan.server.app')",
        "import_module('.app', package='silogan.server')",
        "__import__('silogan.server')",
        "import silogan.simulations.grid",
        "import silogan.cli",
        "import tests.conftest",
    ],
)
def test_forbidden_import_is_caught(statement: str) -> None:
    assert len(forbidden_imports(statement, "client")) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "import silogan.common.errors",
        "from silogan.common import errors",
        "from silogan.client.ledger.ledger import Ledger",
        "from . import server",
        "from .server import Connection",
        "import servers",
        "from flwr.server import Grid",
        "importlib.import_module('silogan.common.errors')",
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
        ("simulations", "cli"),
    ],
)
def test_arrow_is_refused(package: str, imported: str) -> None:
    assert forbidden_imports(f"import silogan.{imported}", package) == [f"1: {imported}"]


@pytest.mark.parametrize(
    ("package", "room", "statement"),
    [
        ("common", "operations", "from silogan.common.wire.study import Study"),
        ("common", "operations", "from silogan.common import wire"),
        ("common", BASE, "import silogan.common.config.scenario"),
        ("client", "mechanism", "from silogan.client.round import run_round"),
        ("client", "ledger", "from silogan.client.training import trainer"),
        ("client", "round", "def late():\n    from silogan.client.node.node import Node"),
        ("server", "release", "from silogan.server.rounds.checkpoint import Checkpoint"),
        ("server", "operations", "from silogan.server.app import federate"),
        ("server", "fitting", "from silogan.server import rounds"),
    ],
)
def test_an_arrow_between_rooms_is_refused(package: str, room: str, statement: str) -> None:
    assert len(imports_between_rooms(statement, package, room)) == 1
