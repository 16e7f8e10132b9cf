"""Runs the unit tests and compares the lessons' outputs under settings that stand for other processors.

A setting is a set of variables that the numerical libraries read when they start. The table at the end says which
libraries compute other bits with it on this machine. A test file that does not import `naslab` computes nothing and is
left out. The arguments after `--` are for Python: they start pytest.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "processors"
THREADS = "4"
simd = np.show_config(mode="dicts")["SIMD Extensions"]

SETTINGS = {
    "as-is": {},
    "sse4.2": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        # all that this NumPy chooses when it starts: any other name is an error
        "NPY_DISABLE_CPU_FEATURES": " ".join([*simd.get("found", ()), *simd.get("not found", ())]),
    },
    "threads": {
        "MKL_CBWR": "COMPATIBLE",
        "MKL_DYNAMIC": "FALSE",  # else MKL, and torch with it, has no more threads than the machine has cores
        "MKL_NUM_THREADS": THREADS,
        "OMP_NUM_THREADS": THREADS,
        # else oneDNN's threads spin where they wait: 15 times slower with four of them on two cores
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits leaves its core to another
        "OPENBLAS_NUM_THREADS": THREADS,  # has no more than cores all the same
        "NASLAB_THREADS": THREADS,  # read by conftest.py
        "IPYTHONDIR": str(OUT / "ipython"),
    },
}
# Every kernel of the setting "threads" starts with this, since the lessons' profile quick asks for one thread.
KERNEL = f"import torch; torch.set_num_threads({THREADS}); torch.set_num_threads = lambda number: None; del torch\n"

# What each library makes of the same numbers, as checksums of the bits.
PROBE = """
import json, zlib
import numpy, torch
from threadpoolctl import threadpool_info

x = torch.arange(160_000.0).remainder(97).div(97).view(400, 400)
a, y, b = x.numpy(), x.double(), x.double().numpy()
values = {
    "torch": [x.softmax(1), x.sum(), y.softmax(1)],
    "MKL": [x @ x, y @ y] if torch.backends.mkl.is_available() else [],
    "oneDNN": [torch.conv2d(x.view(1, 4, 200, 200), x.view(-1)[:288].view(8, 4, 3, 3))],
    "NumPy": [numpy.exp(a), numpy.tanh(b)],
    "OpenBLAS": [a @ a, b @ b] if any(pool["internal_api"] == "openblas" for pool in threadpool_info()) else [],
}
bits = {name: [zlib.crc32(numpy.asarray(value).tobytes()) for value in made] for name, made in values.items()}
print(json.dumps([torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), bits]))
"""


def probe(setting: dict[str, str]) -> tuple[str, int, dict[str, list[int]]]:
    """torch's capability, its threads, and the checksums of each library's results, none if the library is not here."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=os.environ | setting, check=True, stdout=subprocess.PIPE, text=True
    )
    return tuple(json.loads(done.stdout))


def effect(usual: dict[str, list[int]], capability: str, threads: int, bits: dict[str, list[int]]) -> str:
    """What a setting changes here, against the checksums as the machine is."""
    kinds: dict[str, list[str]] = {"changes": [], "leaves": [], "not here": []}
    for name, made in bits.items():
        kinds["not here" if not made else "leaves" if made == usual[name] else "changes"].append(name)
    lists = [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]
    return "; ".join([f"torch: {capability}, threads: {threads}", *lists])


def imports(file: Path) -> set[str]:
    """The packages that a file imports at its top."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    names = [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in names}


def counts(report: Path) -> tuple[int, int]:
    """How many tests passed and failed, from pytest's report; (0, 0) if there is none."""
    suites = list(ET.parse(report).getroot()) if report.exists() else []
    tests, failed, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites for name in names.split())
        for names in ("tests", "failures errors", "skipped")
    )
    return tests - failed - skipped, failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default=" ".join(SETTINGS), help="names, or numbers from 1")
    parser.add_argument("python", nargs="+", metavar="ARGUMENT", help="-m pytest and its arguments")
    args = parser.parse_args(argv)
    numbered = {str(number): name for number, name in enumerate(SETTINGS, start=1)}
    names = [numbered.get(word, word) for word in args.settings.replace(",", " ").split()]
    if not names or not SETTINGS.keys() >= {*names}:
        parser.error(f"--settings: got {args.settings!r}, expected some of {', '.join(SETTINGS)}, or of 1, 2, 3")

    startup = OUT / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "threads.py").write_text(KERNEL, encoding="utf-8")
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    left_out = [f"--ignore={file}" for file in files if "naslab" not in imports(file)]
    *_, usual = probe(SETTINGS["as-is"])
    rows, green = [], True
    for name in names:
        report, start = OUT / f"{name}.xml", time.perf_counter()
        report.unlink(missing_ok=True)
        command = [sys.executable, *args.python, *left_out, f"--junitxml={report}"]
        code = subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS[name], check=False).returncode
        passed, failed = counts(report)
        green = green and code == 0
        seconds = time.perf_counter() - start
        rows.append(f"{name:8}{passed:8}{failed:8}{seconds:9.0f}  {effect(usual, *probe(SETTINGS[name]))}")
    print("\n".join(["setting   passed  failed  seconds  here", *rows]))
    return int(not green)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
