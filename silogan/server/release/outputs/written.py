"""A data set on the disk with what lies beside it: README, Croissant, hashes. It is there whole or not at all."""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import BinaryIO

from silogan.common.errors import UsageError
from silogan.common.files import folder_atomically, write_atomically, write_bytes_atomically
from silogan.server.release.about import About
from silogan.server.release.croissant import CROISSANT_FILE, Node, croissant
from silogan.server.release.manifest import SUMS_FILE, sum_line, write_sums

README = "README.md"
ABOUT, CROISSANT, SUMS = ".about.json", f".{CROISSANT_FILE}", ".sha256"
"""What follows a file's own name in the names of those beside it."""

Described = tuple[list[Node], list[Node]]
"""The files of a data set and the records in them, as Croissant has them."""


def write_folder(out: Path, about: About, loading: str, fill: Callable[[Path], Described]) -> None:
    """A folder of data with a README, its description and the hashes of all files.

    Args:
        out: a new or empty folder.
        about: what the data set says of itself.
        loading: how to load it, in a few lines of Python.
        fill: writes the data into a folder, and describes it.
    """
    with folder_atomically(out) as folder:
        described = fill(folder)
        write_bytes_atomically(folder / README, _readme(about, loading).encode())
        write_bytes_atomically(folder / CROISSANT_FILE, croissant(about, *described))
        write_sums(folder)


def write_file(
    out: Path,
    about: About,
    write: Callable[[BinaryIO], object],
    describe: Callable[[Path], Described],
    *,
    note: bool = False,
) -> None:
    """A file of data, and beside it its description and the hashes of both.

    Args:
        out: a new file.
        about: what the data set says of itself.
        write: writes the data.
        describe: describes the data in a file, which may still have another name.
        note: whether the file itself cannot say what it is, as CSV: then `OUT.about.json` says it.
    """
    beside: dict[str, Callable[[Path], bytes]] = {ABOUT: lambda _: about.to_json()} if note else {}
    beside[CROISSANT] = lambda path: croissant(about, *describe(path))
    described = [out.with_name(out.name + ending) for ending in beside]

    def sums(path: Path) -> bytes:
        return sum_line(path, out.name) + b"".join(sum_line(one, one.name) for one in described)

    write_beside(out, write, {**beside, SUMS: sums})


def write_beside(out: Path, write: Callable[[BinaryIO], object], beside: Mapping[str, Callable[[Path], bytes]]) -> None:
    """A file, and others whose names are its own and an ending.

    They are written before the file has its name, and go again where it does not get it.

    Args:
        out: a new file.
        write: writes it.
        beside: by its ending the content of each other file, made in this order; `out` is at the path given until then.

    Raises:
        UsageError: one of the others exists already.
    """
    paths = {ending: out.with_name(out.name + ending) for ending in beside}
    for path in paths.values():
        if path.exists():
            raise UsageError(f"--out {out}", f"has a file beside it already, {path.name}", "choose a new place")

    def write_all(file: BinaryIO) -> None:
        write(file)
        file.flush()
        for ending, content in beside.items():
            write_bytes_atomically(paths[ending], content(Path(file.name)))

    try:
        write_atomically(out, write_all)
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise


def _readme(about: About, loading: str) -> str:
    facts = "\n".join(
        f"- {name.replace('_', ' ')}: {escape(said, quote=False)}" for name, said in about.facts().items()
    )
    return f"""# {escape(about.title, quote=False)}

{about.count:,} {about.schema.noun}; {escape(about.schema.describe(), quote=False)}. Not for diagnosis.

{facts}

## Load

```python
{loading.strip()}
```

## Check

```sh
sha256sum -c {SUMS_FILE}
```
"""
