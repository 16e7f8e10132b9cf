"""Runs lessons in profile quick for several seeds and lists the assertions that fail: lesson, seed, cell, first line.

A failed assertion does not end a lesson; the later cells run, too. Of other errors only the first is listed, because
later ones may follow from it. build/seeds/report.json stores which lessons passed for which seeds with which code (the
notebook's code cells and the package). These are not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from concurrent.futures import as_completed
from contextlib import suppress
from pathlib import Path

import nbformat
from course_table import write
from regenerate import computed_by
from run_notebooks import ROOT, budget, code_cells, errors, notebooks, run, threads, torch_megabytes


def parse(text: str) -> list[int]:
    """Parses seeds from numbers and ranges: "0-2,7" is 0, 1, 2, 7. Raises `ValueError` for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"SEEDS: got {text!r}, expected numbers and rising ranges, such as 0-9 or 0,3,6")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return list(dict.fromkeys(seeds))


def failures(path: Path, seed: int, out: Path) -> list[str]:
    """Runs one lesson to its end for one seed. Returns a line per failed assertion, and the first other error."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:  # a tag that lets the next cell run
        cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "raises-exception"]
    (out / "lessons").mkdir(parents=True, exist_ok=True)
    copy = out / "lessons" / path.name
    nbformat.write(notebook, copy)
    parameters = {"profile": "quick", "seed": str(seed)}
    outcome = run(copy, out, parameters, budget("quick", lesson=path.stem), folder=path.parent)
    found = []
    with suppress(OSError, ValueError):  # without an output the outcome has the reason
        found = errors(code_cells(out / path.name))
    others = [line for line in found if ": AssertionError: " not in line]
    if outcome.failure is not None and outcome.failure not in found:  # a dead kernel, a hang
        others.append(outcome.failure)
    return [line for line in found if line not in others] + others[:1]


def table(results: dict[tuple[str, int], list[str]]) -> str:
    """Returns a table with a row per lesson and a column per seed: the number of failures, "." for none."""
    lessons, seeds = sorted({lesson for lesson, _ in results}), sorted({seed for _, seed in results})
    width = max(map(len, lessons))
    rows = [" " * width + "".join(f"{seed:>4}" for seed in seeds)]
    for lesson in lessons:
        counts = (len(results[lesson, seed]) for seed in seeds)
        rows.append(f"{lesson:{width}}" + "".join(f"{count or '.':>4}" for count in counts))
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-9", help="numbers and ranges: 0-9 or 0,3,6")
    parser.add_argument("--only", metavar="NN", help="number, or beginning of a notebook's name")
    parser.add_argument("--jobs", type=int, choices=range(1, 65), default=1, metavar="N", help="run N side by side")
    parser.add_argument("--folder", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "seeds")
    args = parser.parse_args(argv)
    try:
        seeds, paths = parse(args.seeds), notebooks(args.folder, args.only)
    except ValueError as error:
        parser.error(str(error))

    report = args.out / "report.json"
    passed: dict[str, dict[str, str]] = {}  # lesson: seed: the code's hash
    with suppress(OSError, ValueError):
        passed = json.loads(report.read_text(encoding="utf-8"))
    code = {path: computed_by(nbformat.read(path, as_version=4)) for path in paths}
    pairs = [(path, seed) for path in paths for seed in seeds]
    known = [pair for pair in pairs if passed.get(pair[0].stem, {}).get(str(pair[1])) == code[pair[0]]]
    results: dict[tuple[str, int], list[str]] = {(path.stem, seed): [] for path, seed in known}
    if known:
        print(f"{len(known)} of {len(pairs)} passed before with this code; `make clean` forgets them.")
    torch_megabytes()  # measured once, before anything else runs
    args.out.mkdir(parents=True, exist_ok=True)
    with threads(args.jobs) as pool:
        running = {
            pool.submit(failures, path, seed, args.out / str(seed)): (path, seed)
            for path, seed in pairs
            if (path, seed) not in known
        }
        for future in as_completed(running):
            path, seed = running[future]
            results[path.stem, seed] = lines = future.result()
            for line in lines or ["ok"]:
                print(f"{path.stem}, seed {seed}: {line}", flush=True)
            if lines:
                passed.get(path.stem, {}).pop(str(seed), None)
            else:
                passed.setdefault(path.stem, {})[str(seed)] = code[path]
            write(report, json.dumps(passed, indent=1) + "\n")
    print(table(results))
    return int(any(results.values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
