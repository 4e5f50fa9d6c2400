"""`silogan release`: whether a run may leave, and the signed file in which it does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from silogan.common.operations.command_line import epilog
from silogan.common.printable import printable

if TYPE_CHECKING:
    from silogan.server.release.sealed import Manifest

release = typer.Typer(
    name="release",
    help="Examine a finished run, export it as one signed file, and verify such a file.",
    epilog=epilog("silogan release check runs/digits"),
    no_args_is_help=True,
    rich_markup_mode="rich",
)

RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run, of a simulation or in server/runs.")]
DatasheetFile = Annotated[
    Path | None,
    typer.Option("--datasheet", help="The filled-in data sheet; release.yaml in the run folder if not given."),
]
Accept = Annotated[
    str | None,
    typer.Option(metavar="'NAME: REASON'", help="Who accepts a verdict that is not usable, and why. It is signed."),
]


@release.command("init", epilog=epilog("silogan release init runs/digits"))
def release_init(run_dir: RunFolder) -> None:
    """Write an empty data sheet (release.yaml) into a run folder: what only a person knows."""
    from silogan.simulations.release.check import begin

    print(f"fill in {begin(run_dir)}, then run: silogan release check {run_dir}")


@release.command("check", epilog=epilog("silogan release check runs/digits"))
def release_check(
    run_dir: RunFolder,
    datasheet: DatasheetFile = None,
    accept_verdict: Accept = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Examine a run. Whatever speaks against its release is listed; exits with 5 (privacy) or 6 then."""
    from silogan.simulations.release.check import check

    examined = check(run_dir, datasheet=datasheet, accept=accept_verdict)
    if as_json:
        print(json.dumps(examined.to_json(), indent=2))
    else:
        console = Console(markup=False, highlight=False)
        for one in examined.found:
            for line in one.reasons or (one.told,):
                style = None if one.met else "red"
                console.print(f"{'ok     ' if one.met else 'REFUSED'} {one.name}: {line}", style=style, soft_wrap=True)
    examined.require()
    if not as_json:
        print(f"may be released: silogan release export {run_dir} --out {run_dir.absolute().name}.zip")


@release.command(
    "export",
    epilog=epilog("silogan release export runs/digits --out digits.zip"),
)
def release_export(
    run_dir: RunFolder,
    out: Annotated[Path, typer.Option(help="New file (.zip).")],
    datasheet: DatasheetFile = None,
    accept_verdict: Accept = None,
    key: Annotated[
        Path | None, typer.Option(help="Private key that signs; the coordinator's, or one in a simulation's folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a run as one signed file, if everything holds that `silogan release check` examines."""
    from silogan.simulations.release.export import export

    manifest = export(run_dir, out, datasheet=datasheet, accept=accept_verdict, key=key)
    if as_json:
        _print_json(manifest)
        return
    print(f"{out}: {len(manifest.files)} files, signed by the key {manifest.key}")
    print("give recipients release.pub by another way than the file, and let them compare this key")


@release.command("verify", epilog=epilog("silogan release verify digits.zip --key release.pub"))
def release_verify(
    file: Annotated[Path, typer.Argument(help="The file that a coordinator has exported.")],
    key: Annotated[Path, typer.Option(help="The coordinator's public key (release.pub), from the coordinator itself.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Verify a release offline: signature, every hash, and that nothing was changed, added or left out."""
    from silogan.common.operations.release_key import load_public_key
    from silogan.server.release.sealed import verify

    manifest = verify(file, load_public_key(key))
    if as_json:
        _print_json(manifest)
        return
    print(f"valid: {len(manifest.files)} files, none changed, added or missing")
    for line in manifest.told():
        print(printable(line))


def _print_json(manifest: "Manifest") -> None:
    print(json.dumps(asdict(manifest), indent=2))
