"""Executes the course headless and measures it: one papermill process per notebook, results in build/ and in a table.

A notebook fails when a cell does, when its kernel dies, or when it exceeds its profile's limits. The others still run;
the exit code tells. `--record` also writes what was measured into notebooks/measured.json, README and notebooks: of one
notebook at a time, while `--jobs 2` runs two side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from course_table import record
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
LIMITS: dict[
    str, tuple[float | None, float | None]
] = {  # profile: (seconds, MB); seconds are multiplied by the time factor
    "quick": (90, 1200),
    "full": (1200, None),
    "gpu": (None, None),
}
DEAD_KERNEL = 138  # papermill's exit code
OWN_CELLS = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill adds, by tag


@dataclass(frozen=True)
class Outcome:
    """One execution: wall seconds, peak memory of the process tree in MB (10^6 bytes), None or one line of failure."""

    notebook: str
    profile: str
    seconds: float
    peak_mb: float
    failure: str | None


def notebooks(folder: Path, only: str | None = None) -> list[Path]:
    """The folder's notebooks in order; `only` is the beginning of a name. `ValueError` if that leaves none."""
    found = [path for path in sorted(folder.glob("*.ipynb")) if path.name.startswith(only or "")]
    if not found:
        raise ValueError(f"no notebook in {folder} starts with {only or ''!r}")
    return found


def code_cells(path: Path) -> list[Any]:
    """The notebook's own code cells, those that papermill added left out."""
    cells = nbformat.read(path, as_version=4).cells
    return [c for c in cells if c.cell_type == "code" and not OWN_CELLS & set(c.metadata.get("tags", ()))]


def progress(output: Path) -> tuple[int, str | None]:
    """Of a notebook that papermill is writing: how many code cells are done, and "code cell n: error" if one failed."""
    done = 0
    with suppress(OSError, ValueError):  # not there yet, or half written
        for number, cell in enumerate(code_cells(output), start=1):
            for out in cell.outputs:
                if out.output_type == "error":
                    return done, f"code cell {number}: {out.ename}: {(out.evalue or ' ').splitlines()[0]}"
            done += cell.metadata.get("papermill", {}).get("status") == "completed"
    return done, None


def memory(processes: Iterable[psutil.Process]) -> int:
    """Bytes that the processes hold in RAM: a page that several share counts once (on Linux; elsewhere the sum of rss).

    The pages of files count as in the process that has most of them. Pss would divide them by all who have torch in
    memory, strangers included: a lesson seems 100 MB smaller beside two others.
    """
    own, files = 0, 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            text = ""
            with suppress(OSError):
                text = "".join(Path(f"/proc/{process.pid}/{name}").read_text() for name in ("smaps_rollup", "status"))
            found = dict(re.findall(r"^(Pss_Anon|Pss_Shmem|RssFile):\s+(\d+) kB", text, re.M))
            if len(found) == 3:
                own += 1024 * (int(found["Pss_Anon"]) + int(found["Pss_Shmem"]))
                files = max(files, 1024 * int(found["RssFile"]))
            else:
                own += process.memory_info().rss
    return own + files


def watch(process: psutil.Popen, seconds: float | None, tick: Callable[[], None]) -> tuple[float, int, bool]:
    """Wall seconds, the process tree's peak memory in bytes, and whether it was killed because time was up.

    Looks 20 times a second and calls `tick` about once.
    """
    start, peak, late, looks = time.monotonic(), 0, False, 0
    family: list[psutil.Process] = [process]
    try:
        while process.poll() is None and not late:
            before = family
            with suppress(psutil.NoSuchProcess):
                family = [process, *process.children(recursive=True)]
            # seen twice: between its fork and its exec a new process shows the memory of its parent
            peak = max(peak, memory(member for member in family if member in before))
            looks += 1
            if looks % 20 == 0:
                tick()
            time.sleep(0.05)
            late = seconds is not None and time.monotonic() - start > seconds
    finally:
        if process.poll() is None:
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()
    return time.monotonic() - start, peak, late


def run(
    path: Path,
    out: Path,
    parameters: dict[str, str],
    *,
    seconds: float | None = None,
    megabytes: float | None = None,
    bar: tqdm[Any] | None = None,
) -> Outcome:
    """Executes one notebook into the folder `out` under limits, which None lifts; past `seconds` it is stopped."""
    out.mkdir(parents=True, exist_ok=True)
    output, log = out / path.name, out / f"{path.stem}.log"
    output.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(path),
        str(output),
        "--no-progress-bar",
        "--cwd",
        str(path.parent),
    ]
    command += [word for name, value in parameters.items() for word in ("-p", name, value)]
    cells, shown = len(code_cells(path)), 0

    def advance(done: int) -> None:
        nonlocal shown
        if bar is not None and done > shown:
            bar.update(done - shown)
            shown = done

    environment = ONE_THREAD | os.environ
    with log.open("w", encoding="utf-8") as stream:
        null = subprocess.DEVNULL
        process = psutil.Popen(command, stdin=null, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        elapsed, peak, late = watch(process, seconds, lambda: advance(progress(output)[0]))
    advance(cells)

    done, failure = progress(output)  # looked at first: papermill takes `sys.exit()` in a cell for success
    if failure is None and late:
        failure = f"stopped in code cell {done + 1}: more than {seconds:g} s"
    elif failure is None and process.returncode != 0:
        lines = log.read_text(encoding="utf-8").strip().splitlines()
        at = done + (process.returncode != DEAD_KERNEL)  # the cell that killed its kernel is marked as completed
        failure = f"code cell {at}: {lines[-1] if lines else 'no output'} (exit code {process.returncode})"
    elif failure is None and megabytes is not None and peak > megabytes * 1e6:
        failure = f"needs {peak / 1e6:.0f} MB, more than {megabytes:g} MB"
    return Outcome(path.stem, parameters.get("profile", ""), round(elapsed, 2), round(peak / 1e6, 1), failure)


def limits(profile: str, time_factor: float) -> dict[str, float | None]:
    seconds, megabytes = LIMITS[profile]
    return {"seconds": None if seconds is None else seconds * time_factor, "megabytes": megabytes}


def table(outcomes: Iterable[Outcome]) -> str:
    rows = [("notebook", "seconds", "peak MB", "")]
    rows += [(o.notebook, f"{o.seconds:.1f}", f"{o.peak_mb:.0f}", o.failure or "ok") for o in outcomes]
    width = max(len(name) for name, *_ in rows)
    return "\n".join(f"{n:{width}}  {s:>7}  {m:>7}  {state}".rstrip() for n, s, m, state in rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=LIMITS, default="quick")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default what each notebook says")
    parser.add_argument("--only", metavar="NN", help="number, or beginning of a notebook's name")
    parser.add_argument("--time-factor", type=float, default=os.environ.get("TIME_FACTOR", "1"))
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="run N notebooks side by side")
    parser.add_argument("--record", action="store_true", help="write the measurements into README and notebooks")
    parser.add_argument("--folder", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "build")
    args = parser.parse_args(argv)

    if args.jobs < 1 or (args.record and args.jobs > 1):
        parser.error(
            f"--jobs: got {args.jobs}, allowed is 1 or more, with --record 1: neighbours make a notebook slower"
        )
    try:
        paths = notebooks(args.folder, args.only)
    except ValueError as error:
        parser.error(str(error))
    parameters = {"profile": args.profile} | ({"device": args.device} if args.device else {})

    def execute(path: Path) -> Outcome:
        bar.set_description(path.stem)
        return run(path, args.out, parameters, bar=bar, **limits(args.profile, args.time_factor))

    cells = sum(len(code_cells(path)) for path in paths)
    with tqdm(total=cells, unit="cell", disable=None) as bar, ThreadPoolExecutor(args.jobs) as pool:
        try:
            outcomes = list(pool.map(execute, paths))  # in order
        except KeyboardInterrupt:  # by now `map` has dropped what had not begun
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            raise
    print(table(outcomes))
    report = json.dumps([asdict(outcome) for outcome in outcomes], indent=1)
    (args.out / "report.json").write_text(report + "\n", encoding="utf-8")
    if any(outcome.failure for outcome in outcomes):
        print(f"Outputs and logs are in {args.out}. On a slow machine TIME_FACTOR=4 allows four times the seconds.")
        return 1
    if args.record:
        record(args.folder, {o.notebook: {"seconds": o.seconds, "peak_mb": o.peak_mb} for o in outcomes}, args.profile)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
