"""Executes the course headless and measures it: one papermill process per notebook, results in build/ and in a table.

A notebook fails if a cell fails, if its kernel dies, or if it hangs: no cell finishes for `--hang` seconds. A profile
has a budget of CPU seconds of the process tree and of memory beyond `import torch`. Exceeding it is a warning, or a
failure with `--strict` or `--record`. The other notebooks still run; the exit code is 1 if one failed. `--record` also
writes the measurements into tools/measured.json, README and notebooks.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from course_table import record
from tqdm import tqdm
from watch import watch

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
# papermill waits 4 seconds for a cell's last output, which is too short on a busy machine: this command waits longer
PAPERMILL = "from papermill import cli, clientwrap; clientwrap.PapermillNotebookClient.iopub_timeout = 600; "
PAPERMILL += "cli.papermill()"
CPU_BUILD = 160.0  # MB that `import torch` takes without pages of files: 151 measured with the CPU build
DEAD_KERNEL = 138  # papermill's exit code
OWN_CELLS = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill adds, by tag


@dataclass(frozen=True)
class Budget:
    """Limits of a notebook: CPU seconds, memory beyond `import torch` in MB of 10^6 bytes, and wall seconds without a
    finished cell. None means no limit."""

    cpu_seconds: float | None = None
    megabytes: float | None = None
    hang: float | None = None


BUDGETS = {
    "quick": Budget(cpu_seconds=150, megabytes=970, hang=1200),  # 1.2 GB with torch's CPU build, whose import takes 229
    "full": Budget(cpu_seconds=1200, hang=7200),  # allows a cell of 20 minutes on a slow, shared processor
    "gpu": Budget(),
}
WITH_RAY = {"11_scaling_out": 1270.0}  # MB instead of 970, 1.5 GB in all: Ray and PyTorch in processes of their own


@dataclass(frozen=True)
class Outcome:
    """One execution: wall and CPU seconds, peak memory of the process tree and of `import torch` in MB of 10^6 bytes.

    If several processes import torch, `torch_mb` includes what this build takes more than the CPU build in each other.

    `failure` and `warning` are one line or None. A warning says that a budget was exceeded.
    """

    notebook: str
    profile: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    torch_mb: float
    failure: str | None = None
    warning: str | None = None


def notebooks(folder: Path, only: str | None = None) -> list[Path]:
    """Returns the folder's notebooks in order; `only` is the start of a name. Raises `ValueError` if there are none."""
    found = [path for path in sorted(folder.glob("*.ipynb")) if path.name.startswith(only or "")]
    if not found:
        raise ValueError(f"no notebook in {folder} starts with {only or ''!r}")
    return found


def code_cells(path: Path) -> list[dict[str, Any]]:
    """Returns the code cells without those that papermill added. Raises `OSError` or `ValueError` if half written."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c for c in cells if c["cell_type"] == "code" and not OWN_CELLS & set(c["metadata"].get("tags", ()))]


def finished(cells: Iterable[dict[str, Any]]) -> int:
    return sum(cell["metadata"].get("papermill", {}).get("status") == "completed" for cell in cells)


def errors(cells: Iterable[dict[str, Any]]) -> list[str]:
    """Returns a line per error: "code cell n: name: first line". An error without a message gets its line of code."""
    found = []
    for number, cell in enumerate(cells, start=1):
        for output in (o for o in cell["outputs"] if o["output_type"] == "error"):
            traceback = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output["traceback"]))
            raised = re.findall(r"^-+> \d+ *(.*)", traceback, re.M)  # IPython's arrow, one per frame
            words = output["evalue"].strip().splitlines() or raised[-1:] or [""]
            found.append(f"code cell {number}: {output['ename']}: {words[0]}")
    return found


class Progress:
    """Counts the finished cells of a notebook that papermill is writing. Reads the file only if it has changed."""

    def __init__(self, output: Path, bar: tqdm[Any] | None) -> None:
        self.output, self.bar, self.changed, self.count = output, bar, 0, 0

    def __call__(self) -> int:
        with suppress(OSError, ValueError):  # not there yet, or half written
            changed = self.output.stat().st_mtime_ns
            if changed != self.changed:
                self.show(finished(code_cells(self.output)))
                self.changed = changed
        return self.count

    def show(self, count: int) -> None:
        if self.bar is not None:
            self.bar.update(max(count - self.count, 0))
        self.count = max(count, self.count)


def torch_megabytes() -> float:
    """Returns the peak memory of a process that imports torch, in MB. Builds differ by hundreds of MB."""
    return torch_import()[0]


@functools.cache
def torch_import() -> tuple[float, float]:
    """Returns the peak memory of a process that imports torch, and the part without pages of files, in MB."""
    command = [sys.executable, "-c", "import torch, time; time.sleep(1)"]
    process = subprocess.Popen(command, env=ONE_THREAD | os.environ, stdin=subprocess.DEVNULL)
    cost = watch(process)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)!r} ended with exit code {process.returncode}")
    return round(cost.peak / 1e6, 1), round(max(cost.owns) / 1e6, 1)


def torch_of(owns: Iterable[int]) -> float:
    """Returns the MB that torch takes in processes with so many bytes of their own, as `Outcome.torch_mb` counts it."""
    own = torch_import()[1]
    others = max(sum(each > 0.9e6 * own for each in owns) - 1, 0)
    return torch_megabytes() + others * max(own - CPU_BUILD, 0)


def run(
    path: Path,
    out: Path,
    parameters: dict[str, str],
    budget: Budget = Budget(),
    *,
    strict: bool = False,
    bar: tqdm[Any] | None = None,
    folder: Path | None = None,
) -> Outcome:
    """Executes one notebook in its own folder or in `folder`, and writes to `out`. `strict`: a budget can fail it."""
    torch_megabytes()  # measured before anything else runs
    out.mkdir(parents=True, exist_ok=True)
    output, log = out / path.name, out / f"{path.stem}.log"
    output.unlink(missing_ok=True)
    command = [sys.executable, "-c", PAPERMILL, str(path), str(output), "--no-progress-bar"]
    command += ["--start-timeout", "600", "--cwd", str(folder or path.parent)]
    command += [word for name, value in parameters.items() for word in ("-p", name, value)]
    progress = Progress(output, bar)
    with log.open("w", encoding="utf-8") as stream:
        null, environment = subprocess.DEVNULL, ONE_THREAD | os.environ
        process = subprocess.Popen(command, stdin=null, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        cost = watch(process, budget.hang, progress)
    progress.show(len(code_cells(path)))
    torch_mb = round(torch_of(cost.owns), 1)

    done, failed = 0, list[str]()
    with suppress(OSError, ValueError):
        cells = code_cells(output)
        done, failed = finished(cells), errors(cells)
    failure = failed[0] if failed else None  # checked first: papermill treats `sys.exit()` in a cell as success
    if failure is None and cost.hung:
        failure = f"stopped in code cell {done + 1}: no cell finished for {budget.hang:g} s"
    elif failure is None and process.returncode != 0:
        lines = log.read_text(encoding="utf-8").strip().splitlines()
        at = done + (process.returncode != DEAD_KERNEL)  # the cell that killed its kernel is marked as completed
        failure = f"code cell {at}: {lines[-1] if lines else 'no output'} (exit code {process.returncode})"

    cpu_seconds, peak_mb = round(cost.cpu_seconds, 2), round(cost.peak / 1e6, 1)
    over = []
    if budget.cpu_seconds is not None and cpu_seconds > budget.cpu_seconds:
        over.append(f"took {cpu_seconds:.0f} CPU seconds, more than {budget.cpu_seconds:g}")
    if budget.megabytes is not None and peak_mb - torch_mb > budget.megabytes:
        over.append(f"needs {peak_mb - torch_mb:.0f} MB beyond torch, more than {budget.megabytes:g}")
    warning = " and ".join(over) or None
    failure = failure or (warning if strict else None)
    profile = parameters.get("profile", "")
    return Outcome(path.stem, profile, round(cost.seconds, 2), cpu_seconds, peak_mb, torch_mb, failure, warning)


def budget(profile: str, time_factor: float = 1, hang: float | None = None, lesson: str = "") -> Budget:
    """Returns a lesson's budget with its CPU seconds times `time_factor`. `hang` replaces its `hang` unless None."""
    known = BUDGETS[profile]
    seconds = None if known.cpu_seconds is None else known.cpu_seconds * time_factor
    memory = None if known.megabytes is None else WITH_RAY.get(lesson, known.megabytes)
    return replace(known, cpu_seconds=seconds, megabytes=memory, hang=known.hang if hang is None else hang)


def table(outcomes: Iterable[Outcome]) -> str:
    rows = [("notebook", "CPU s", "wall s", "peak MB", "beyond torch", "")]
    for o in outcomes:
        cpu, wall, peak, beyond = f"{o.cpu_seconds:.1f}", f"{o.seconds:.1f}", o.peak_mb, o.peak_mb - o.torch_mb
        state = o.failure or (f"warning: {o.warning}" if o.warning else "ok")
        rows.append((o.notebook, cpu, wall, f"{peak:.0f}", f"{beyond:.0f}", state))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{n:{width}}  {c:>7}  {w:>7}  {m:>7}  {b:>12}  {s}".rstrip() for n, c, w, m, b, s in rows)


def measured(outcome: Outcome) -> dict[str, float]:
    """Returns the numbers of an outcome that tools/measured.json stores."""
    return {name: getattr(outcome, name) for name in ("cpu_seconds", "seconds", "peak_mb", "torch_mb")}


def positive(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected a positive number")
    return value


@contextmanager
def threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads. An interrupt kills the processes that the threads wait for, and starts no other."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            raise


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=BUDGETS, default="quick")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default what each notebook says")
    parser.add_argument("--only", metavar="NN", help="number, or beginning of a notebook's name")
    parser.add_argument("--hang", type=positive, metavar="SECONDS", help="stop where no cell finishes for so long")
    parser.add_argument("--strict", action="store_true", help="fail where a budget is exceeded")
    factor = os.environ.get("TIME_FACTOR", "1")
    parser.add_argument("--time-factor", type=positive, default=factor, help="allow so many times the CPU seconds")
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
    strict = args.strict or args.record
    torch_megabytes()  # measured once, before anything else runs

    def execute(path: Path) -> Outcome:
        bar.set_description(path.stem)
        allowed = budget(args.profile, args.time_factor, args.hang, path.stem)
        return run(path, args.out, parameters, allowed, strict=strict, bar=bar)

    cells = sum(len(code_cells(path)) for path in paths)
    with tqdm(total=cells, unit="cell", disable=None) as bar, threads(args.jobs) as pool:
        outcomes = list(pool.map(execute, paths))  # in order
    print(table(outcomes))
    report = json.dumps([asdict(outcome) for outcome in outcomes], indent=1)
    (args.out / "report.json").write_text(report + "\n", encoding="utf-8")
    if any(outcome.warning for outcome in outcomes):
        print("A slow or busy processor takes more CPU seconds: TIME_FACTOR=2 allows twice as many.")
    if any(outcome.failure for outcome in outcomes):
        print(f"Outputs and logs are in {args.out}.")
        return 1
    if args.record:
        record(args.folder, {o.notebook: measured(o) for o in outcomes}, args.profile)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
