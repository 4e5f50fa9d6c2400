"""Escape sequences in titles, names and ledger heads do not reach a terminal, whoever chose them.

On 97d0510 any string passed as a ledger's head, and `server status` printed it.
"""

import io
from pathlib import Path

import pytest
from rich.console import Console

from silogan.cli import main
from silogan.common.errors import FederationError
from silogan.common.wire.messages import Instruction, Reply
from silogan.server.commands import _tables  # pyright: ignore[reportPrivateUsage]

SEQUENCES = ["\x1b]0;x\x07", "\x1b[2J", "\x9b31m", "\u202egnp", "a\rb", "\x7f", "\u2066x"]


@pytest.mark.parametrize("head", [*SEQUENCES, "x", "AB" * 32, "ab" * 31, "ab" * 33, "ab" * 32 + "\n"])
def test_a_head_is_64_hexadecimal_digits_where_it_enters(head: str) -> None:
    with pytest.raises(FederationError):
        Reply("bergen", "training", 1, head)
    with pytest.raises(FederationError):
        Instruction("a" * 64, "b" * 64, "training", 1, known_head=head)


@pytest.mark.parametrize("text", SEQUENCES)
def test_server_status_prints_no_sequence(text: str) -> None:
    """Not even where a checkpoint of an older version, or a file that somebody changed, holds one."""
    found = {
        "services": {text: 1},
        "certificate": {"days_left": 3, "warnings": [text]},
        "sites": [{"name": text, "status": text, "declared_size": 3, "heard": None}],
        "problems": [text],
        "runs": [
            {
                "name": text,
                "state": text,
                "problem": text,
                "round": 1,
                "rounds": 2,
                "answered": 1,
                "refused": [text],
                "epsilon": 1.0,
                "seconds_left": 1.0,
                "ledger_heads": {text: text},
            }
        ],
    }
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system=None, markup=False, width=200).print(_tables(found))
    plain = out.getvalue().replace("\x1b[3m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")  # rich's own
    assert all(line.isprintable() for line in plain.split("\n"))


def test_an_auditor_s_terminal_shows_no_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ledger that somebody sent is called what they like, and need be none."""
    sent = tmp_path / "a\x1b[2J\u202e.sqlite"
    sent.write_bytes(b"no ledger")
    monkeypatch.setattr("sys.argv", ["silogan", "audit", str(sent)])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert "\\x1b[2J" in shown.out
    assert not {"\x1b", "\u202e"} & set(shown.out + shown.err)
