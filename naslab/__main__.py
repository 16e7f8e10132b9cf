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
    """Returns the lessons in order: from inside an installed package, or from beside it in a checkout.

    Raises `FileNotFoundError` if there are none.
    """
    for folder in (PACKAGE / "notebooks", PACKAGE.parent / "notebooks"):
        if found := sorted(folder.glob("[0-9][0-9]_*.ipynb")):
            return found
    raise FileNotFoundError(f"there are no lessons in {PACKAGE} or beside it: install naslab again")


def copy(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Copies files into a folder and creates it if necessary. Keeps files that exist already. Returns the new files.

    Raises `OSError` if it cannot create the folder or write to it. No incomplete copy then has a lesson's name.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    new = []
    for source in sources:
        target = folder / source.name
        if not os.path.lexists(target):
            partial = target.with_name(f".{target.name}.part")
            shutil.copyfile(source, partial)  # without its mode, so that the copy is writable
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
