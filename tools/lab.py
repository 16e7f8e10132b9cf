"""Opens JupyterLab at the reader's own copies of the lessons, in the folder my/. `make lab` runs it.

The server's root is the repository, so links from a lesson to the README work. git ignores my/, so a reader's changes
stay when the lessons change. `--fresh 03` copies lesson 03 again and keeps the old copy beside it. Other options are
passed to JupyterLab.
"""

from __future__ import annotations

import argparse
import sys
from itertools import count
from pathlib import Path

from naslab.__main__ import copy

ROOT = Path(__file__).resolve().parent.parent
OWN = "my"


def put_aside(path: Path) -> Path:
    """Renames a file to the first free name: 03_x.ipynb becomes 03_x-old1.ipynb, or -old2 and so on."""
    old = next(old for n in count(1) if not (old := path.with_name(f"{path.stem}-old{n}{path.suffix}")).exists())
    return path.rename(old)


def prepare(root: Path, fresh: str | None = None) -> list[str]:
    """Copies the lessons that are missing in my/. Copies those whose names start with `fresh` again.

    Returns lines to print. Raises `ValueError` if no lesson's name starts with `fresh`, and `OSError` if my/ cannot be
    written.
    """
    lessons, said = sorted((root / "notebooks").glob("*.ipynb")), []
    if fresh is not None:
        anew = [path for path in lessons if path.name.startswith(fresh)]
        if not fresh or not anew:
            raise ValueError(f"no lesson starts with {fresh!r}; there are {', '.join(path.stem for path in lessons)}")
        for path in anew:
            if (mine := root / OWN / path.name).exists():
                said.append(f"{mine.name} is new; the old one is {put_aside(mine).name}")
    copy(lessons, root / OWN)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--fresh", metavar="NN", help="copy the lessons whose names begin so anew; the old ones stay")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: the one that this file is in)")
    options, others = parser.parse_known_args()
    try:
        for line in prepare(options.root, options.fresh):
            print(line)
    except (OSError, ValueError) as error:
        sys.exit(f"naslab: {error}")

    from jupyterlab.labapp import main as serve

    address = f"/lab/tree/{OWN}/00_start_here.ipynb"
    sys.exit(serve([f"--ServerApp.root_dir={options.root}", f"--LabApp.default_url={address}", *others]))


if __name__ == "__main__":
    main()
