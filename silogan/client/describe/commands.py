"""`silogan data`: how a table is described. Parses arguments and calls this package."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from silogan.common.operations.command_line import epilog

data = typer.Typer(
    name="data",
    help="Tables: draft and check the public description of their columns.",
    epilog=epilog("silogan data describe columns.yaml"),
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@data.callback()
def _group() -> None:
    """Makes `describe` a command of its own, though it is the only one."""


@data.command("describe", epilog=epilog("silogan data describe patients.csv --draft > columns.yaml"))
def describe(
    file: Annotated[Path, typer.Argument(help="A description (YAML); with --draft, a CSV or Parquet file.")],
    draft: Annotated[
        bool,
        typer.Option(
            "--draft",
            help="Draft the description of a table. Its bounds and values are read from the data: they are not "
            "private, and must be replaced by public ones before use.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Show the columns that a description declares, or draft one from a CSV or Parquet file."""
    from silogan.client.describe.draft import draft as drafted
    from silogan.client.describe.words import rows, sentences
    from silogan.common.errors import UsageError
    from silogan.common.modality.table_file import read_description

    if draft and as_json:
        raise UsageError("--json", "does not fit --draft, which writes YAML", "remove one of them")
    if draft and file.suffix.lower() in (".yaml", ".yml"):
        raise UsageError("--draft", "needs a table, and this is a description", "give a CSV file, or leave it out")
    if draft:
        print(drafted(file), end="")
        return
    schema = read_description(file)
    if as_json:
        print(json.dumps(schema.to_plain(), indent=2))
        return
    console = Console(markup=False)
    table = Table("column", "type", "values", "cells", "if outside", "missing")
    for row in rows(schema):
        table.add_row(*row)
    console.print(table)
    for sentence in sentences(schema):
        console.print(sentence, soft_wrap=True)
