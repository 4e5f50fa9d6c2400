"""A guide as a test reads it: its sections, what it has one type, what that prints, and the files that it shows."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.yaml)\n(.*)", flags=re.DOTALL)
_RUNS_ON = re.compile(r"silogan (server|node) start\b")
_SECONDS = 240.0


@dataclass(frozen=True)
class Command:
    """What is typed, and the lines that it prints: in these "…" is anything, and alone on a line any lines."""

    line: str
    prints: list[str] = field(default_factory=list[str])

    @property
    def runs_on(self) -> bool:
        """Whether it ends only when it is stopped."""
        return _RUNS_ON.match(self.line) is not None and not self.is_refused

    @property
    def is_refused(self) -> bool:
        """Whether it ends with an error."""
        return bool(self.prints) and self.prints[-1].startswith("silogan: ")

    def is_answered_by(self, printed: str) -> bool:
        """Whether this is what the guide says that it prints, but for how wide its columns are."""
        pattern = "".join(_any_lines if line == "…" else _line_pattern(line) for line in self.prints)
        return re.fullmatch(pattern, "".join(_words(line) + "\n" for line in printed.splitlines())) is not None


@dataclass(frozen=True)
class File:
    """A file that is written, or where it is there already, lines that are set in it."""

    name: str
    text: str


Block = Command | File


def sections(guide: Path, replaced: Mapping[str, str]) -> dict[str, list[Block]]:
    """The blocks of each section of a guide, by its heading, with what differs on this machine replaced."""
    text = guide.read_text(encoding="utf-8")
    for old, new in replaced.items():
        text = text.replace(old, new)
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return {title: _blocks(body) for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def _blocks(body: str) -> list[Block]:
    found: list[Block] = []
    for kind, content in _BLOCK.findall(body):
        named = _FILE.fullmatch(content)
        if kind == "yaml":
            assert named is not None, content
            found.append(File(named[1], named[2]))
            continue
        for line in content.splitlines():
            if line.startswith("$ "):
                found.append(Command(line.removeprefix("$ ")))
            else:
                last = found[-1]
                assert isinstance(last, Command)
                last.prints.append(line)
    return found


_any_lines = r"(?:.*\n)*?"


def _words(line: str) -> str:
    return " ".join(line.split())


def _line_pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _words(line).split("…")) + r"\n"


class Machine:
    """A machine on which somebody follows a guide.

    Args:
        folder: where they are.
        env: their environment.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.env = folder, dict(env)
        self._running: list[subprocess.Popen[str]] = []

    def follow(self, blocks: list[Block]) -> None:
        """Does what the blocks say, and compares what is printed with what they say is printed."""
        assert blocks, "this section has nothing to do"
        for block in blocks:
            if isinstance(block, File):
                self._write(block)
            elif block.runs_on:
                self._start(block)
            else:
                self._run(block)

    def stop(self) -> None:
        """Ends what runs on."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(timeout=60)
        self._running.clear()

    def _write(self, file: File) -> None:
        path = self.folder / file.name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in file.text.splitlines():
            key = line.partition(":")[0]
            changed, count = re.subn(rf"^{re.escape(key)}:.*$", lambda _, to=line: to, text, flags=re.MULTILINE)
            text = changed if count else f"{text}{line}\n"
        path.write_text(text, encoding="utf-8")

    def _run(self, command: Command) -> None:
        done = subprocess.run(
            ["bash", "-c", self._typed(command)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1200,
        )
        assert (done.returncode != 0) == command.is_refused, f"$ {command.line}\n{done.stdout}"
        assert command.is_answered_by(done.stdout), f"$ {command.line}\n{done.stdout}"

    def _start(self, command: Command) -> None:
        log = self.folder / f"started-{len(self._running)}.txt"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._typed(command)}"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
            )
        self._running.append(process)
        deadline = time.monotonic() + _SECONDS
        while not command.is_answered_by(log.read_text(encoding="utf-8")):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, f"$ {command.line}\n{log.read_text(encoding='utf-8')}"
            time.sleep(0.2)

    def _typed(self, command: Command) -> str:
        """The line with the names that the guide cannot know: "…" in a path stands for the one that is there."""
        words = command.line.split(" ")
        if os.geteuid() == 0 and _RUNS_ON.match(command.line) and "as root" not in "".join(command.prints):
            words.append("--as-root")
        for index, word in enumerate(words):
            if "…" in word:
                [path] = self.folder.glob(word.replace("…", "*"))
                words[index] = str(path.relative_to(self.folder))
        return " ".join(words)
