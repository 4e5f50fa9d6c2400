"""A coordinator's and a hospital's own files, damaged or written by somebody else: one line, and nothing on a terminal.

Before, nine of these eleven were tracebacks, moved the cursor of whoever looked, or were taken for what they are not.
"""

import json

import pytest

from silogan.simulations.fuzz.places import RUN
from tests.hostile.inputs import Desk

STATUS = ("server", "status", "--folder", "coordinator", "--json")
DEEP = "[" * 100_000


def problems(desk: Desk) -> str:
    """What the coordinator's status says is wrong, beside all that it says else."""
    said = desk.run(*STATUS)
    assert said.how == "accepted"
    told = json.loads(said.printed)
    return "; ".join([*told["problems"], *(run["problem"] for run in told["runs"])])


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        (f"{RUN}/submission.json", DEEP, "damaged submission.json"),
        (f"{RUN}/submission.json", '{"state": "failed", "problem": 7}', "damaged submission.json"),
        (f"{RUN}/submission.json", json.dumps({"state": "failed", "problem": "\x1b[2J\u202e"}), "\\x1b"),
        (f"{RUN}/events.jsonl", '{"round": 1}\n7\n{"round": 2, "sites_refused": 3}\n' + DEEP, ""),
        ("coordinator/sites.json", '[{"name": 7, "public_key": "", "declared_size": 1}]', "sites.json"),
        ("coordinator/sites.json", DEEP, "sites.json"),
    ],
    ids=range(6),
)
def test_a_damaged_file_is_named_and_stops_nothing(desk: Desk, name: str, content: str, named: str) -> None:
    (desk.folder / name).write_text(content, encoding="utf-8")
    assert named in problems(desk)


def test_a_coordinator_s_own_settings_must_be_right(desk: Desk) -> None:
    (desk.folder / "coordinator" / "server.yaml").write_text('names: ["a\\eb"]\n', encoding="utf-8")
    assert desk.run(*STATUS).how == "refused 3"


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'\\"ledger_heads\\": {\\"bergen\\": \\"', b'\\"ledger_heads\\": {\\"b\\\\u001bn\\": \\"'),
        (b'\\"round\\": 1', b'\\"round\\": x'),
    ],
    ids=["name", "round"],
)
def test_a_checkpoint_shows_names_and_heads_alone(desk: Desk, was: bytes, becomes: bytes) -> None:
    [path] = (desk.folder / RUN / "checkpoints").iterdir()
    content = path.read_bytes()
    assert was in content
    changed = content.replace(was, becomes)
    length = int.from_bytes(content[:8], "little") + len(changed) - len(content)
    path.write_bytes(length.to_bytes(8, "little") + changed[8:])
    assert f"checkpoint '{path.name}' is damaged" in problems(desk)


def test_a_request_is_a_request(desk: Desk) -> None:
    enrol = ("server", "enrol", "bergen", "request.json", "--folder", "coordinator")
    request = json.loads((desk.folder / "request.json").read_text(encoding="utf-8"))
    for change in ({"site": "\u202e"}, {"declared_size": 2.5}, {"declared_size": True}, {"public_key": "x" * 10**6}):
        (desk.folder / "request.json").write_text(json.dumps({**request, **change}), encoding="utf-8")
        assert desk.run(*enrol).how == "refused 3"
    (desk.folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    assert desk.run(*enrol).how == "accepted"


def test_a_connection_holds_what_can_be_a_command(desk: Desk) -> None:
    for text in ('server: "fl.example.org:9443"\nca: "a\\0b"\n', 'server: "fl\\e.example.org:9443"\n'):
        (desk.folder / "node" / "node.yaml").write_text(text, encoding="utf-8")
        assert desk.run("node", "start", "node").how == "refused 3"
