"""Writes the measurements of `make run RECORD=1` to tools/measured.json, README's course table and the lessons.

README.md has the course table between `<!-- measured:start -->` and `<!-- measured:end -->`. A notebook has its costs
in a markdown cell between `<!-- measured -->` and `<!-- /measured -->`. Do not edit them by hand.
"""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import nbformat
import psutil

PROFILES = ("quick", "full", "gpu")
Measured = dict[str, dict[str, dict[str, Any]]]  # notebook: profile: {"cpu_seconds", "peak_mb", "machine", ...}


def machine() -> str:
    """Returns processor, cores and memory of this computer, and nothing that identifies its owner."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8"))):
        model = found[1]
    return f"{model.strip()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def cost(entry: dict[str, Any] | None) -> str:
    """Returns the memory and the minutes of CPU time, or of wall time if only that was recorded."""
    if entry is None:
        return "not measured"
    seconds = entry.get("cpu_seconds", entry["seconds"])
    return f"{max(seconds / 60, 0.1):.1f} min, {round(entry['peak_mb'], -1):.0f} MB"


def lesson_line(measured: Measured, stem: str) -> str:
    """Returns the costs of a lesson for its header table."""
    entries = measured.get(stem, {})
    return "; ".join(f"{profile}: {cost(entries.get(profile))}" for profile in PROFILES)


def course_table(folder: Path, measured: Measured) -> str:
    """Returns the README's table. A row has a notebook's title, its summary and its cost per profile."""
    lines = ["| lesson | what you derive, run and touch | " + " | ".join(f"`{p}`" for p in PROFILES) + " |"]
    lines.append("|---" * (2 + len(PROFILES)) + "|")
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = next((m[1] for c in notebook.cells if (m := re.search(r"^# +(.+)", c.source, re.M))), path.stem)
        summary = notebook.metadata.get("naslab", {}).get("summary", "")
        costs = (cost(measured.get(path.stem, {}).get(profile)) for profile in PROFILES)
        lines.append("| " + " | ".join([f"[{title}]({folder.name}/{path.name})", summary, *costs]) + " |")
    entries = [entry for profiles in measured.values() for entry in profiles.values()]
    if machines := sorted({entry["machine"] for entry in entries}):
        time = "CPU time" if all("cpu_seconds" in entry for entry in entries) else "Wall time"
        lines += ["", f"{time} and peak memory, measured by `make run RECORD=1` on {' and on '.join(machines)}."]
    return "\n".join(lines)


def between(text: str, start: str, end: str, new: str) -> str:
    """Replaces the text between the two markers. Returns the text unchanged if it has no markers."""
    pattern = re.escape(start) + ".*?" + re.escape(end)
    return re.sub(pattern, lambda _: start + new + end, text, flags=re.S)


def write(path: Path, text: str) -> None:
    """Replaces the file atomically: after an interruption the old one is still there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def render(folder: Path, measured: Measured) -> dict[Path, str]:
    """Returns the updated README and notebooks: path -> text."""
    texts = {}
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        line = lesson_line(measured, path.stem)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = between(cell.source, "<!-- measured -->", "<!-- /measured -->", line)
        texts[path] = nbformat.writes(notebook).rstrip("\n") + "\n"
    readme = folder.parent / "README.md"
    if readme.exists():
        rows = f"\n{course_table(folder, measured)}\n"
        text = readme.read_text(encoding="utf-8")
        texts[readme] = between(text, "<!-- measured:start -->", "<!-- measured:end -->", rows)
    return texts


def store(folder: Path) -> Path:
    return folder.parent / "tools" / "measured.json"


def load(folder: Path) -> Measured:
    path = store(folder)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def record(folder: Path, costs: dict[str, dict[str, float]], profile: str) -> None:
    """Stores the measurements of one profile and rewrites everything that shows them. Drops deleted notebooks."""
    known = load(folder)
    here = machine()
    measured: Measured = {
        path.stem: known.get(path.stem, {})
        | ({profile: {**costs[path.stem], "machine": here}} if path.stem in costs else {})
        for path in sorted(folder.glob("*.ipynb"))
    }
    store(folder).parent.mkdir(exist_ok=True)
    write(store(folder), json.dumps(measured, indent=1) + "\n")
    for path, text in render(folder, measured).items():
        write(path, text)
