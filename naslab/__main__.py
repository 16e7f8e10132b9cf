"""`python -m naslab lessons DIR` copies the lessons into a folder of your own."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def lessons() -> list[Path]:
    """The lessons, in order: inside an installed package, beside it in a checkout. `FileNotFoundError` without any."""
    for folder in (PACKAGE / "notebooks", PACKAGE.parent / "notebooks"):
        if found := sorted(folder.glob("[0-9][0-9]_*.ipynb")):
            return found
    raise FileNotFoundError(f"there are no lessons in {PACKAGE} or beside it: install naslab again")


def copy(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Copies files into a folder, which is made if need be; what is there already stays. Returns the new files.

    `OSError` if the folder cannot be made or written to; then no half copy is left under a lesson's name.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    new = []
    for source in sources:
        target = folder / source.name
        if not os.path.lexists(target):
            partial = target.with_name(f".{target.name}.part")
            shutil.copyfile(source, partial)  # without its mode: a copy is there to be written to
            partial.rename(target)
            new.append(target)
    return new


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m naslab", description="Neural Architecture Search, derived and run")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("lessons", help="copy the lessons into a folder; files that are there already stay")
    command.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(arguments).folder
    try:
        every = lessons()
        new = copy(every, folder)
    except OSError as error:
        print(f"naslab: {error}", file=sys.stderr)
        return 1
    kept = len(every) - len(new)
    print(f"{folder}: {len(new)} lessons copied" + (f", {kept} were there already and stay" if kept else ""))
    print(f'To open them: jupyter lab "{folder}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
