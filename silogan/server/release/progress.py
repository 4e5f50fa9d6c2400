"""A bar that shows how many records are drawn and written."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from silogan.common.models.networks import Drawn


def with_progress(parts: Iterable[Drawn], count: int, noun: str, console: Console) -> Iterator[Drawn]:
    """The same parts; a bar grows as they are taken. Silent if `console` is not a terminal."""
    if not console.is_terminal:
        yield from parts
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left")
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(noun, total=count)
        for part in parts:
            yield part
            progress.advance(task, len(next(iter(part.records.values()))))
