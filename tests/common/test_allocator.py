"""After the word to glibc, a large block no longer gets a mapping of its own; the environment's settings are kept."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from silogan.common.allocator import keep_freed_memory

ROOT = Path(__file__).resolve().parents[2]
# Prints what was answered, and the megabytes that glibc mapped for a block of 64 MB before and after.
PROGRAM = """
import ctypes
from silogan.common.allocator import keep_freed_memory

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.mallinfo.restype = ctypes.c_void_p, [ctypes.c_size_t], Info

def mapped() -> int:
    before = libc.mallinfo().hblkhd
    libc.malloc(64 << 20)
    return (libc.mallinfo().hblkhd - before) >> 20

first = mapped()
print(keep_freed_memory(), first, mapped())
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has another C library")


def answer(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@glibc_only
def test_large_blocks_come_from_the_heap() -> None:
    assert answer() == ["True", "64", "0"]


@glibc_only
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_settings_of_the_environment_are_kept(name: str) -> None:
    value = "1" if name.startswith("MALLOC") else "glibc.malloc.arena_max=1"
    assert answer(**{name: value}) == ["False", "64", "64"]


def test_nothing_is_done_with_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
