"""Trains every architecture of a benchmark and packs the results into naslab/assets.

Each training writes a line to build/tables/NAME.jsonl, so an interrupted run continues where it stopped. When all lines
are there, the arrays go to naslab/assets/NAME.npz and its checksum to SHA256SUMS. naslab/assets/tables.json stores the
hash of the code. After a change of that code `--confirm N` trains N random rows of each table again; if they agree, it
stores the new hash.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from code_hash import code_hash
from tqdm import tqdm

from naslab import networks, spaces
from naslab.benchmarks import BENCHMARKS, Benchmark
from naslab.runs import replace

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "naslab" / "assets"
Job = tuple[int, int]  # repetition, row


def trained_by() -> str:
    """Returns the hash of the code that trains the architectures."""
    return code_hash("from naslab import benchmarks")


def machine() -> str:
    """Returns what the low-order bits of a training depend on: the processor and the version of PyTorch."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        found = dict(re.findall(r"^(model name|cpu family|model|stepping)\s*: (.+)$", info.read_text(), re.MULTILINE))
        name = found.pop("model name", name) + "".join(f", {key} {value}" for key, value in found.items())
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"


def start() -> None:
    torch.set_num_threads(1)


def measure(name: str, job: Job) -> dict[str, Any]:
    """Trains one row of a benchmark once."""
    repetition, row = job
    benchmark = BENCHMARKS[name]
    return {"repetition": repetition, "row": row, **asdict(benchmark.measure(strings(name)[row], repetition))}


def strings(name: str) -> list[spaces.Tokens]:
    if name not in _strings:
        _strings[name] = [*spaces.all_strings(BENCHMARKS[name].space)]
    return _strings[name]


_strings: dict[str, list[spaces.Tokens]] = {}


def measured(name: str, jobs: list[Job], processes: int) -> Iterator[dict[str, Any]]:
    """Yields the results of the jobs in order. One process is this one."""
    if processes == 1:
        yield from (measure(name, job) for job in jobs)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=start)
    try:
        yield from pool.map(measure, [name] * len(jobs), jobs, chunksize=max(1, min(16, len(jobs) // processes)))
    finally:
        pool.shutdown(cancel_futures=True)


def lines(path: Path) -> list[dict[str, Any]]:
    """Reads the lines that were written whole. Creates the file with a header, the code and the machine, if missing.

    Raises `ValueError` if other code or another machine wrote the file.
    """
    header = {"code": trained_by(), "machine": machine()}
    if not path.exists():
        replace(path, (json.dumps(header) + "\n").encode())
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    first, *rest = map(json.loads, whole.splitlines())
    if first != header:
        raise ValueError(f"{path}: got rows of {first}, expected {header}; remove the file to begin again")
    if whole != text:  # a line that was cut off
        replace(path, whole.encode())
    return rest


def make(name: str, processes: int, out: Path) -> list[dict[str, Any]]:
    """Trains what is missing of a benchmark, with a progress bar. Returns the lines of all trainings."""
    benchmark, path = BENCHMARKS[name], out / f"{name}.jsonl"
    done = lines(path)
    known = {(line["repetition"], line["row"]) for line in done}
    every = [(k, row) for k in range(benchmark.seeds) for row in range(len(strings(name)))]
    left = [job for job in every if job not in known]
    bar = tqdm(measured(name, left, processes), desc=name, total=len(every), initial=len(every) - len(left))
    with path.open("a", encoding="utf-8") as file:
        for line in bar:
            file.write(json.dumps(line) + "\n")
            file.flush()
            done.append(line)
    return done


def packed(benchmark: Benchmark, done: list[dict[str, Any]], made_on: str) -> bytes:
    """Returns the .npz: counts (stops, seeds, strings), CPU seconds (seeds, strings), sizes (strings,)."""
    rows = strings(benchmark.name)
    shape = (benchmark.seeds, len(rows))
    counts = {split: np.zeros((len(benchmark.stops), *shape), np.uint16) for split in ("valid", "test")}
    seconds = np.full(shape, np.nan, np.float32)
    for line in done:
        place = line["repetition"], line["row"]
        seconds[place] = line["seconds"]
        for split, array in counts.items():
            array[:, *place] = line[split]
    assert not np.isnan(seconds).any()
    made = {"machine": made_on, "stops": benchmark.stops, "valid": benchmark.head[1], "test": benchmark.head[2]}
    parameters = [networks.count_parameters(benchmark.trainer(0).build(tokens)) for tokens in rows]
    flops = [benchmark.flops(tokens) for tokens in tqdm(rows, desc="sizes")]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        valid=counts["valid"],
        test=counts["test"],
        made=np.array(json.dumps(made)),
        seconds=seconds,
        parameters=np.array(parameters, np.int32),
        flops=np.array(flops, np.int64),
    )
    return buffer.getvalue()


def store(name: str, content: bytes) -> None:
    """Writes an asset, its checksum and the hash of the code."""
    lines = map(str.split, (ASSETS / "SHA256SUMS").read_text().splitlines())
    sums = {file: checksum for checksum, file in lines} | {f"{name}.npz": hashlib.sha256(content).hexdigest()}
    text = "".join(f"{checksum}  {file}\n" for file, checksum in sorted(sums.items()))
    replace(ASSETS / f"{name}.npz", content)
    replace(ASSETS / "SHA256SUMS", text.encode())
    stamp(name)


def stamp(name: str) -> None:
    path = ASSETS / "tables.json"
    hashes = json.loads(path.read_text()) if path.exists() else {}
    replace(path, (json.dumps(hashes | {name: trained_by()}, indent=1, sort_keys=True) + "\n").encode())


def disagreements(name: str, n: int, seed: int) -> list[str]:
    """Trains n random rows of a stored table again. Returns a line for each that differs.

    On the machine that made the table the counts must be equal. On another one the validation accuracies may differ by
    4 standard errors of the difference of two trainings.
    """
    with np.load(ASSETS / f"{name}.npz", allow_pickle=False) as arrays:
        made, stored, seconds = json.loads(str(arrays["made"])), arrays["valid"], arrays["seconds"]
    same = made["machine"] == machine()
    noise = np.sqrt(stored[-1].astype(float).var(0, ddof=1).mean())
    rng = np.random.default_rng(seed)
    found = []
    for place in rng.choice(seconds.size, n, replace=False):
        repetition, row = (int(index) for index in np.unravel_index(place, seconds.shape))
        again = BENCHMARKS[name].measure(strings(name)[row], repetition).valid
        before = tuple(stored[:, repetition, row].tolist())
        if again != before if same else abs(again[-1] - before[-1]) > 4 * np.sqrt(2) * noise:
            found.append(f"{name}, row {row}, repetition {repetition}: got {again}, the table has {before}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=[*BENCHMARKS])
    parser.add_argument("--jobs", type=int, default=2, help="processes that train")
    parser.add_argument("--confirm", type=int, default=0, metavar="N", help="rows to train again")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "tables")
    args = parser.parse_args(argv)
    if args.jobs < 1 or args.confirm < 0:
        parser.error(f"got --jobs {args.jobs} --confirm {args.confirm}, expected at least 1 and 0")
    start()
    for name in args.only:
        if args.confirm:
            if found := disagreements(name, args.confirm, seed=0):
                print(*found, sep="\n", file=sys.stderr)
                return 1
            stamp(name)
        else:
            store(name, packed(BENCHMARKS[name], make(name, args.jobs, args.out), machine()))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"make_tables: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
