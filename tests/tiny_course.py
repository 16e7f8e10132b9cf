"""Courses of tiny notebooks, and the tools and commands as the command line starts them."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import regenerate
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parent.parent


def course(folder: Path, **sources: list[str]) -> Path:
    folder.mkdir()
    for name, cells in sources.items():
        metadata = {"kernelspec": regenerate.KERNEL, "naslab": {"summary": f"shows {name}"}}
        cells = [
            new_markdown_cell(f"# Lesson {name}\n\n<!-- measured -->?<!-- /measured -->"),
            *map(new_code_cell, cells),
        ]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / f"{name}.ipynb")
    return folder


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as outside `make test`, which hands its variables on to every `make` below it."""
    own = "MAKEFLAGS MAKELEVEL PROFILE DEVICE ONLY RECORD JOBS HANG SEEDS SETTINGS FRESH ARGS UPGRADE VENV PYTHON "
    own += "TIME_FACTOR TORCH_INDEX TORCH_CPU"
    outside = {name: value for name, value in os.environ.items() if name not in own.split()}
    environment = outside | environment
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600)


def tool(script: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / script, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
