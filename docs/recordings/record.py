"""Records what a command shows on a terminal, and measures its longest silence and how right its times left were.

From the root of the repository:

    python docs/recordings/record.py docs/recordings/simulate-mnist.txt silogan simulate mnist --set data.root=FOLDER

The file has one picture a second, of a long run fewer, and what was measured at its head. Times left of a recording
that is there are measured again by

    python docs/recordings/record.py docs/recordings/simulate-mnist.txt
"""

import os
import pty
import re
import sys
import time
from collections.abc import Sequence
from fcntl import ioctl
from itertools import pairwise
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ
from typing import NamedTuple

ROWS, COLUMNS = 40, 100
MOST_PICTURES = 300
"""That are kept of a recording, one a second at most."""

_REDRAWN = re.compile(r"(?:\r?\x1b\[2K)(?:\x1b\[1A\x1b\[2K)*|\x1b\[\d+A")
_MOVES = re.compile(r"[━╸╺]|^[\u2800-\u28ff]|^(preparing|statistics|fitting|rounds|refinement|measuring|in all) |^\s*$")
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEFT = re.compile(r"^in all .*?(?:(\d+):)?(\d+):(\d\d) left", re.MULTILINE)
_TIME = re.compile(r"^=== +([\d.]+) s$", re.MULTILINE)


class Output(NamedTuple):
    """What was written at one time, in seconds after the start."""

    seconds: float
    text: str


def record(command: Sequence[str]) -> tuple[list[Output], float]:
    """Runs a command on a terminal of its own; returns all that it has written, and how many seconds it ran."""
    start, process, terminal = time.monotonic(), *pty.fork()
    if process == 0:
        os.environ |= {"TERM": "xterm-256color", "NO_COLOR": "1"}  # without colours a bar ends where it is empty
        os.execvp(command[0], command)  # noqa: S606
    ioctl(terminal, TIOCSWINSZ, pack("HHHH", ROWS, COLUMNS, 0, 0))
    written: list[Output] = []
    while True:
        try:
            read = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so when the command has ended
            read = b""
        if not read:
            break
        written.append(Output(time.monotonic() - start, read.decode(errors="replace")))
    os.waitpid(process, 0)
    return written, time.monotonic() - start


def silences(written: Sequence[Output]) -> list[tuple[float, float]]:
    """Seconds between one output and the next, from the start on, the longest first, each with when it began."""
    times = [0.0, *(output.seconds for output in written)]
    return sorted(((after - before, before) for before, after in pairwise(times)), reverse=True)


def pictures(written: Sequence[Output]) -> list[Output]:
    """What stands on the terminal after each redrawing, without colours."""
    found: list[Output] = []
    for output in written:
        first, *others = _REDRAWN.split(output.text)
        if found and first:
            found[-1] = Output(found[-1].seconds, found[-1].text + first)
        elif first:
            found.append(Output(output.seconds, first))
        found += [Output(output.seconds, text) for text in others]
    plain = [Output(seconds, _CODES.sub("", text).replace("\r", "").strip("\n")) for seconds, text in found]
    return [output for output in plain if output.text.strip()]


def shortened(shown: Sequence[Output], ran: float) -> list[Output]:
    """The last picture of each second, or of some seconds, but all lines that stand above one."""
    every = max(1.0, ran / MOST_PICTURES)
    found: list[Output] = []
    for output in shown:
        kept: list[str] = []
        if found and found[-1].seconds // every == output.seconds // every:
            lines = found.pop().text.splitlines()
            kept = [line for line in lines if line not in output.text and not _MOVES.search(line)]
        found.append(Output(output.seconds, "\n".join((*kept, output.text))))
    return found


class Promise(NamedTuple):
    """A time left that was shown, and what came of it; all in seconds."""

    seconds: float
    left: float
    truth: float

    @property
    def error(self) -> float:
        """Of the time left, as a share of the truth."""
        return self.left / self.truth - 1


def promises(shown: Sequence[Output], end: float) -> list[Promise]:
    """Every time left that was shown for the whole."""
    found: list[Promise] = []
    for output in shown:
        for hours, minutes, seconds in _LEFT.findall(output.text)[-1:]:
            left = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
            found.append(Promise(output.seconds, left, end - output.seconds))
    return found


def judged(shown: Sequence[Output], end: float) -> list[str]:
    """How right the times left were: from a third of the way on, until ten seconds before the end."""
    told = [one for one in promises(shown, end) if end / 3 <= one.seconds <= end - 10]
    if not told:
        return ["no time left was shown"]
    worst = max(told, key=lambda one: abs(one.error))
    within = sum(abs(one.error) <= 0.3 for one in told) / len(told)
    at = {
        part: min(told, key=lambda one, part=part: abs(one.seconds - part * end)) for part in (1 / 3, 1 / 2, 2 / 3, 0.9)
    }
    first = f"times left from a third of the way to ten seconds before the end: {within:.0%} within 30 %"
    lines = [f"{first}; worst {worst.error:+.0%} at {worst.seconds:.0f} s"]
    near = {part: one for part, one in at.items() if abs(one.seconds - part * end) < end / 10}
    return lines + [f"  at {part:.0%}: {one.left:.0f} s shown, {one.truth:.0f} s true" for part, one in near.items()]


def measured_again(path: Path) -> list[str]:
    """What can be measured of a shortened recording."""
    _, *parts = _TIME.split(path.read_text(encoding="utf-8"))
    shown = [Output(float(seconds), text) for seconds, text in zip(parts[::2], parts[1::2], strict=True)]
    pictures_of = [output.seconds for output in shown if "in all" in output.text]
    return judged(shown, pictures_of[-1])


def main(path: Path, command: Sequence[str]) -> None:
    """Records a command, or measures a recording if there is none."""
    if not command:
        print("\n".join(measured_again(path)))  # noqa: T201
        return
    written, ran = record(command)
    shown = pictures(written)
    end = promises(shown, 0.0)[-1].seconds if promises(shown, 0.0) else ran
    longest = ", ".join(f"{length:.2f} s (at {began:.1f} s)" for length, began in silences(written)[:3])
    after, load = ran - written[-1].seconds, f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}"
    head = [
        f"$ {' '.join(command)}",
        f"ran {ran:.1f} s; first output after {written[0].seconds:.2f} s; {load}",
        f"longest silences: {longest}; {after:.2f} s from the last output to the end of the process",
        *judged(shown, end),
    ]
    texts = [f"=== {output.seconds:.1f} s\n{output.text}\n" for output in shortened(shown, ran)]
    path.write_text("\n".join((*head, "", *texts)), encoding="utf-8")
    print("\n".join(head))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
