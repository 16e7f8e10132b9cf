"""`make processors`: what a setting changes, which tests take part, and that its threads reach tests and kernels."""

import shutil
import sys
from pathlib import Path

import nbformat
import processors
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from tiny_course import ROOT, run, tool


def test_numpy_takes_every_setting_without_a_warning() -> None:
    for setting in processors.SETTINGS.values():
        done = run(sys.executable, "-W", "error", "-c", "import numpy", **setting)
        assert done.returncode == 0, done.stderr


def test_every_test_file_that_computes_takes_part(tmp_path: Path) -> None:
    file = tmp_path / "test.py"
    file.write_text("import os.path\nfrom naslab.view import chart\ntext = 'import torch'", encoding="utf-8")
    assert processors.imports(file) == {"os", "naslab"}
    for file in (ROOT / "tests").rglob("test_*.py"):
        if computing := {"torch", "numpy", "scipy", "sklearn"} & (found := processors.imports(file)):
            assert "naslab" in found, f"{file.name} imports {', '.join(computing)} and would be left out"
    assert "naslab" not in processors.imports(ROOT / "tests" / "test_browser.py")


def test_what_a_setting_changes_is_said_by_library() -> None:
    usual = {"torch": [1, 2], "MKL": [], "NumPy": [3], "OpenBLAS": [4]}
    bits = {"torch": [1, 9], "MKL": [], "NumPy": [3], "OpenBLAS": [4]}
    said = processors.effect(usual, "DEFAULT", 4, bits)
    assert said == "torch: DEFAULT, threads: 4; changes torch; leaves NumPy, OpenBLAS; not here MKL"
    assert processors.effect(usual, "AVX2", 1, usual) == (
        "torch: AVX2, threads: 1; leaves torch, NumPy, OpenBLAS; not here MKL"
    )


def test_an_unknown_setting_is_refused() -> None:
    for wrong in ("4", "avx", ""):
        done = tool("processors.py", f"--settings={wrong}", "--", "-c", "print('started')")
        assert done.returncode == 2 and f"got '{wrong}', expected some of as-is, sse4.2, threads" in done.stderr
        assert "started" not in done.stdout


QUICK = "profile = 'quick'\nseed = 0\ndevice = 'cpu'"
START = "from naslab import runs\nrun = runs.start(globals(), quick={}, full={}, gpu={})"
SHOW = "import torch\ntorch.get_num_threads()"
TESTS = """
import os, pytest, torch

@pytest.mark.parametrize("turn", [1, 2])
def test_the_threads_are_there_again_whatever_a_test_before_did(turn):
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"]) == {threads}
    torch.set_num_threads(1)

@pytest.mark.skip
def test_nothing(): ...

def test_not_held_to_less():
    assert "ATEN_CPU_CAPABILITY" not in os.environ
"""


@pytest.mark.slow
def test_four_threads_reach_tests_and_kernels_and_one_red_setting_is_the_exit_code(tmp_path: Path) -> None:
    ini = f"[pytest]\naddopts = --nbval --nbval-current-env\npythonpath = {ROOT}/tools"
    for name, threads in ("one", 1), ("four", 4):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(ROOT / "conftest.py", folder)
        (folder / "pytest.ini").write_text(ini, encoding="utf-8")
        (folder / "test_it.py").write_text(TESTS.format(threads=threads), encoding="utf-8")
        cells = [new_code_cell(source, execution_count=n) for n, source in enumerate((QUICK, START, SHOW), start=1)]
        cells[-1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": str(threads)}, execution_count=3)]
        nbformat.write(new_notebook(cells=cells), folder / "lesson.ipynb")

    def rows(settings: str, folder: str) -> tuple[int, list[list[str]]]:
        done = tool("processors.py", "--settings", settings, "--", "-m", "pytest", tmp_path / folder)
        return done.returncode, [line.split()[:3] for line in done.stdout.partition("setting ")[2].splitlines()[1:]]

    assert rows("2", "one") == (1, [["sse4.2", "5", "1"]])
    assert rows("threads", "four") == (0, [["threads", "6", "0"]])


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_passes_its_variables_through() -> None:
    both = run("make", "-n", "-o", ".venv/ready-test", "processors", "VENV=.venv")
    assert both.stdout.strip().endswith('-m "not slow" tests notebooks')
    done = run("make", "-n", "-o", ".venv/ready-test", "processors", "VENV=.venv", "SETTINGS=1 threads", "ARGS=tests")
    tests = run("make", "-n", "-o", ".venv/ready-test", "test", "VENV=.venv", "ARGS=tests")
    start = tests.stdout.strip().removesuffix("tests").partition(" ")[2]
    assert done.stdout.strip().endswith(f'tools/processors.py --settings "1 threads" -- {start}-m "not slow" tests')
