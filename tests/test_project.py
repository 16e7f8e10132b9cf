"""The checkout: style and types, pins that agree, the Makefile's first words, Binder, and a wheel that stands alone."""

import hashlib
import os
import re
import shutil
import stat
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import binder_environment
import nbformat
import prerequisites
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny_course import run

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
EXTRAS = set(PROJECT["optional-dependencies"])
HERE = {name: str(value) for name, value in default_environment().items()}


def in_venv(name: str) -> Path:
    return Path(sys.executable).with_name(name)


@pytest.mark.parametrize("command", ["ruff check", "ruff format --check", "mypy"])
def test_lint(command: str) -> None:
    done = run(sys.executable, "-m", *command.split())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_requirement_is_pinned_at_what_is_installed() -> None:
    pins = binder_environment.pins(CONSTRAINTS, HERE)
    needed = binder_environment.closure("naslab", EXTRAS, HERE)
    assert not needed - set(pins)
    differ = {}
    for name in sorted(needed):
        if (installed := version(name).partition("+")[0]) != pins[name]:
            differ[name] = (installed, pins[name])
    assert not differ, "installed, pinned: run `make test`, which installs with constraints.txt"


def test_constraints_name_versions_and_nothing_else() -> None:
    assert {"torch", "numpy", "jupyterlab"} <= set(binder_environment.pins(CONSTRAINTS, HERE))
    for line in CONSTRAINTS.splitlines():
        if not line.startswith("#"):
            (pin,) = Requirement(line).specifier
            assert pin.operator == "==" and "+" not in pin.version, line


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0", "3.14.0"])
@pytest.mark.parametrize(
    "system", [("linux", "posix", "Linux"), ("darwin", "posix", "Darwin"), ("win32", "nt", "Windows")]
)
def test_constraints_cover_other_pythons_and_systems(python: str, system: tuple[str, str, str]) -> None:
    there = HERE | dict(zip(("sys_platform", "os_name", "platform_system"), system, strict=True))
    there |= {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    pins = binder_environment.pins(CONSTRAINTS, there)
    direct = [
        Requirement(line)
        for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for line in lines
    ]
    for requirement in direct:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    expected = {"darwin": "appnope", "win32": "colorama", "linux": "nvidia-cublas"}[system[0]]
    assert expected in pins


def test_a_test_package_is_not_needed_to_read() -> None:
    needed = binder_environment.closure("naslab", set(), HERE)
    assert {"torch", "jupyterlab", "papermill"} <= needed
    assert not needed & {"pytest", "mypy", "playwright", "ruff"}


def test_conda_environment_installs_what_make_installs() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    *packages, pip = conda["dependencies"]
    assert packages == ["python=3.11", "pip"]
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(sorted(EXTRAS, reverse=True))}]"]}


def test_binder_environment_agrees_with_constraints_and_pyproject() -> None:
    text = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    pins = binder_environment.pins(CONSTRAINTS, binder_environment.BINDER)
    binder = yaml.safe_load(text)
    *packages, pip = binder["dependencies"]
    assert packages == ["python=3.11", "pip"]
    index, *lines = pip["pip"]
    assert index == "--extra-index-url https://download.pytorch.org/whl/cpu"
    listed = dict(line.split("==") for line in lines)
    assert listed.pop("torch") == pins["torch"] + "+cpu"
    assert listed.items() <= pins.items()
    direct = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert direct | {"notebook"} <= {"torch", *listed}
    here = f"python={sys.version_info.major}.{sys.version_info.minor}"
    if sys.platform == "linux" and here in packages:  # other Pythons install other packages, whose needs it reads
        assert text == binder_environment.render(), "run `make constraints`"


def test_binder_scripts() -> None:
    post_build, start = (ROOT / "binder" / name for name in ("postBuild", "start"))
    if os.name == "posix":
        assert all(path.stat().st_mode & stat.S_IXUSR for path in (post_build, start, ROOT / ".ci" / "run"))
    assert post_build.read_text(encoding="utf-8").splitlines()[:2] == ["#!/bin/bash", "set -e"]
    assert "--no-deps" in post_build.read_text(encoding="utf-8")
    done = run("bash", start, sys.executable, "-c", "import os, sys; print(os.environ['OMP_NUM_THREADS']); sys.exit(7)")
    assert (done.stdout, done.returncode) == ("1\n", 7)


def dockerfile(root: Path) -> str:
    done = run(in_venv("jupyter-repo2docker"), "--no-build", "--debug", ".", cwd=root)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_binder_installs_before_it_copies_the_repository(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "binder", tmp_path / "binder")
    text = dockerfile(tmp_path)
    steps = [
        "COPY --chown=0:0 src/binder/environment.yml",
        "env update",
        "COPY --chown=0:0 src/ ",
        "RUN ./binder/postBuild",
    ]
    steps = [re.sub(r"--chown=\S+", "--chown=", step) for step in steps]
    text = re.sub(r"--chown=\S+", "--chown=", text)
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert "/binder/start" in text

    # a local file among the requirements is what would defeat it
    environment = tmp_path / "binder" / "environment.yml"
    environment.write_text(environment.read_text(encoding="utf-8") + "      - -e .\n", encoding="utf-8")
    slow = re.sub(r"--chown=\S+", "--chown=", dockerfile(tmp_path))
    assert slow.index("env update") > slow.index("COPY --chown= src/ ")


def test_repo2docker_takes_the_binder_folder_of_this_checkout() -> None:
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in dockerfile(ROOT)


@pytest.mark.parametrize(
    ("python", "absent", "expected"),
    [
        ((3, 10), (), "Python 3.11 or newer is needed and this is 3.10"),
        ((3, 11), ("venv",), "no 'venv' module. On Debian and Ubuntu: sudo apt-get install python3.11-venv"),
        ((3, 12), ("ensurepip",), "no 'ensurepip' module. On Debian and Ubuntu: sudo apt-get install python3.12-venv"),
        ((3, 13), (), None),
    ],
)
def test_a_missing_prerequisite_gets_one_line(
    python: tuple[int, int], absent: tuple[str, ...], expected: str | None
) -> None:
    def find(name: str) -> None:
        if name in absent:
            raise ImportError(name)

    message = prerequisites.missing(python, find)
    assert message is None if expected is None else expected in message and "\n" not in message


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").iterdir()), ids=lambda path: path.stem)
def test_workflows_keep_to_githubs_schema_and_call_make(path: Path) -> None:
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert done.returncode == 0, done.stdout + done.stderr
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    lines = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert lines
    for line in lines:
        make, target, *variables = line.split()
        assert make == "make" and target in targets and all("=" in variable for variable in variables), line


def test_workflows_try_every_supported_python() -> None:
    tests, weekly = (
        yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))["jobs"]
        for name in ("tests", "weekly")
    )
    matrix = tests["test"]["strategy"]["matrix"]
    assert weekly["processors"]["strategy"]["matrix"] == matrix
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert f">={matrix['python'][0]}" == PROJECT["requires-python"]
    assert ".".join(map(str, prerequisites.OLDEST)) == matrix["python"][0]
    assert [int(python.partition(".")[2]) for python in matrix["python"]] == list(range(11, 15))


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs git and a checkout")
def test_a_clone_with_windows_line_endings_has_the_same_bytes(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    done = run("git", "clone", "--quiet", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", ROOT, clone)
    assert done.returncode == 0, done.stderr
    sums = (clone / "naslab" / "assets" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert len(sums) >= 3
    for line in sums:
        digest, name = line.split()
        assert hashlib.sha256((clone / "naslab" / "assets" / name).read_bytes()).hexdigest() == digest, name
    endings = run("git", "ls-files", "--eol", cwd=clone).stdout.splitlines()
    assert len(endings) > 100 and not [line for line in endings if line.split()[1] in ("w/crlf", "w/mixed")]


def test_the_course_has_one_title() -> None:
    (bibtex,) = re.findall(r"title = \{(.+)\},$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["title"] == bibtex


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@needs_make
def test_make_without_python_says_so_in_one_line(tmp_path: Path) -> None:
    done = run("make", "run", "PYTHON=python9.9", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("naslab: there is no 'python9.9' here. Install Python 3.11 or newer")
    assert not (tmp_path / "venv").exists()


@needs_make
def test_make_with_an_old_python_says_so_before_it_builds_anything(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    script = "import sys; sys.version_info = (3, 9, 2); sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read())"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}" "$@"\n', encoding="utf-8")
    old.chmod(0o755)
    done = run("make", "run", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("naslab: Python 3.11 or newer is needed and this is 3.9.")
    assert not (tmp_path / "venv").exists()


@needs_make
def test_make_run_passes_its_variables_through() -> None:
    done = run(
        "make", "-n", "-o", ".venv/ready", "run", "VENV=.venv", "PROFILE=full", "DEVICE=cuda", "ONLY=03", "RECORD=1"
    )
    assert " ".join(done.stdout.replace("\\\n", " ").split()).endswith(
        "tools/run_notebooks.py --profile full --device cuda --only 03 --record"
    )
    done = run("make", "-n", "-o", ".venv/ready", "run", "VENV=.venv", "JOBS=3")
    assert done.stdout.split()[-2:] == ["--jobs", "3"]
    done = run("make", "-n", "-o", ".venv/ready", "run", "VENV=.venv", "HANG=60")
    assert done.stdout.split()[-2:] == ["--hang", "60"]
    done = run("make", "-n", "-o", ".venv/ready", "seeds", "VENV=.venv", "SEEDS=0,3", "ONLY=07", "JOBS=2")
    assert done.stdout.strip().endswith('tools/seeds.py --seeds "0,3" --only 07 --jobs 2')


@needs_make
@pytest.mark.slow
def test_make_test_gives_a_notebook_to_one_worker_and_shows_what_was_measured(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\naddopts = --nbval --nbval-current-env -v\npythonpath = {ROOT}/tools"
    )
    cells = ["import os; pids = [os.getpid()]", *["pids.append(os.getpid())"] * 5, "assert len(pids) == 6"]
    for name in ("a", "b"):
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), tmp_path / f"{name}.ipynb")
    for name in ("late", "early"):  # in a process each
        outcome = f"Outcome('{name}', 'quick', 1, 2, 300, 200)"
        test = f"from run_notebooks import Outcome\ndef test_it(measured): measured({outcome})"
        (tmp_path / f"test_{name}.py").write_text(test)
    command = run("make", "-n", "-o", ".venv/ready-test", "test", "VENV=.venv").stdout.split(" -m ")[-1]
    outside = {name: "" for name in os.environ if name.startswith("PYTEST_")}
    done = run(sys.executable, "-m", *command.split(), cwd=tmp_path, **outside)
    assert done.returncode == 0 and "16 passed" in done.stdout, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\] \[ *\d+%\] PASSED (\w)\W+ipynb::Cell (\d)", done.stdout)
    assert {worker for worker, *_ in ran} == {"gw0", "gw1"}
    for name in ("a", "b"):
        assert [int(cell) for _, notebook, cell in ran if notebook == name] == list(range(7))
    rows = [line.split() for line in done.stdout.splitlines() if line.endswith("  ok")]
    assert rows == [[name, "2.0", "1.0", "300", "100", "ok"] for name in ("early", "late")]


SEARCH = """
import torch, naslab
from naslab import data, steps, tables
from naslab.search import random_search
assert len(data.fashion().train) > 1000 and len(data.pride_and_prejudice().train) > 100_000
table = tables.nas_bench_201()
config, generator = random_search.Config(updates=20), torch.Generator().manual_seed(0)
found = list(random_search.search(table.space, table.accuracy, config, generator))
print(len(found), steps.best(found)[1], naslab.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_carries_assets_lessons_and_types_and_nothing_else(wheel: Path) -> None:
    files = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("naslab-")}
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "naslab").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    lessons = {f"naslab/notebooks/{path.name}" for path in (ROOT / "notebooks").iterdir() if path.is_file()}
    assert files == here | lessons
    assert any(name.startswith("naslab/assets/") and name.endswith(".npz") for name in files)
    assert any(name.endswith("/00_start_here.ipynb") for name in files)
    assert "naslab/py.typed" in files
    assert wheel.stat().st_size < 9e6  # a lesson adds 0.3 MB


@pytest.mark.slow
def test_the_wheel_runs_a_search_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    (python,) = [path for path in (tmp_path / "venv").glob("*/python*") if path.stem == "python"]
    install = run(python, "-m", "pip", "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt", wheel)
    assert install.returncode == 0, install.stderr
    done = run(python, "-c", SEARCH, cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    *numbers, place = done.stdout.split()
    assert [float(n) for n in numbers] == pytest.approx([20, 91], abs=5) and Path(place).is_relative_to(tmp_path)
    done = run(python, "-m", "naslab", "lessons", "my lessons", cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    copied = {path.name: path.read_bytes() for path in (tmp_path / "my lessons").iterdir()}
    assert copied == {path.name: path.read_bytes() for path in (ROOT / "notebooks").glob("*.ipynb")}
