"""The lessons keep to the template, and the tools that run, compare and regenerate them tell good from bad."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import course_table
import nbformat
import psutil
import pytest
import regenerate
import run_notebooks
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from run_notebooks import Outcome

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXEMPT = {"nbval-ignore-output", "nbval-skip"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def prose(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- the template


@each_notebook
def test_parameters_are_typed_and_explained(path: Path) -> None:
    (cell,) = [cell for cell in code(read(path)) if "parameters" in tags(cell)]
    typed = {}
    for line in filter(str.strip, cell.source.splitlines()):
        match = re.fullmatch(r"(\w+): ([^=]+) = (.+?)  # .+", line)
        assert match, f"{line!r} is not `name: type = value  # comment`"
        typed[match[1]] = (match[2], match[3])
    assert typed["profile"] == ("str", '"quick"')
    assert typed["seed"][0] == "int"
    assert typed["device"][0] == "str"


@each_notebook
def test_the_lesson_has_its_parts(path: Path) -> None:
    notebook = read(path)
    texts = prose(notebook)
    assert notebook.cells[0].cell_type == "markdown" and re.match(r"# \S", notebook.cells[0].source), (
        "begins with its title"
    )
    assert notebook.metadata.get("naslab", {}).get("summary"), "metadata naslab.summary: the README's row"
    (header,) = [text for text in texts if "<!-- measured -->" in text]
    for row in ("You will be able to", "You need", "Difficulty** | ★", "Minutes and memory"):
        assert row in header
    headings = [m[1].lower() for text in texts for m in re.finditer(r"^## +(.+)$", text, re.M)]
    for part in ("on a gpu", "recap", "references"):
        assert any(part in heading for heading in headings), f"no section {part!r} among {headings}"
    assert path.stem[:2] == "00" or len({*re.findall(rf"\b{path.stem[:2]}\.\d+\b", "\n".join(texts))}) >= 3, (
        "three exercises"
    )


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    place = NOTEBOOKS.index(path)
    linked = re.findall(r"\]\(([^)#\s]+\.ipynb)\)", "\n".join(prose(read(path))))
    for neighbour in (NOTEBOOKS[max(place - 1, 0)], NOTEBOOKS[min(place + 1, len(NOTEBOOKS) - 1)]):
        assert neighbour == path or neighbour.name in linked[-2:], f"ends with a link to {neighbour.name}"
    assert all((path.parent / link).exists() for link in linked)


@each_notebook
def test_the_gpu_section_gives_the_papermill_line(path: Path) -> None:
    text = "\n".join(prose(read(path)))
    section = re.split(r"^## ", text[text.lower().index("## on a gpu") + 3 :], flags=re.M)[0]
    assert re.search(rf"papermill .*{re.escape(path.name)}.*-p profile gpu", section, re.S)


@each_notebook
def test_outputs_are_committed_clean_and_free_of_errors(path: Path) -> None:
    notebook = read(path)
    cells = [cell for cell in code(notebook) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "executed once, in order"
    assert any(cell.outputs for cell in cells)
    assert not regenerate.leaks(notebook, regenerate.machine_paths())
    assert not [o for cell in cells for o in cell.outputs if o.get("name") == "stderr"], "warnings are no output"
    is_clean = regenerate.clean(notebook) == notebook
    assert is_clean, "run `make regenerate`"
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"(?:^|[\s\"'(])(?:/home/|/Users/|/root/|/tmp/|[A-Z]:\\)", sources), "an absolute path"


@each_notebook
def test_most_outputs_are_compared_and_the_others_are_asserted(path: Path) -> None:
    cells = code(read(path))
    exempt = [cell for cell in cells if EXEMPT & tags(cell) or re.search(r"^# *NBVAL_(IGNORE|SKIP)", cell.source, re.M)]
    assert 3 * len(exempt) <= len(cells), f"{len(exempt)} of {len(cells)} code cells are not compared"
    unchecked = None  # an exempt cell that no assertion has followed yet
    for cell in cells:
        if re.search(r"^\s*assert\b", cell.source, re.M):
            unchecked = None
        elif cell in exempt:
            unchecked = unchecked or cell
        else:
            assert unchecked is None, f"nothing is asserted right after:\n{unchecked.source}"
    assert unchecked is None, f"nothing is asserted after:\n{unchecked.source}"


def images_without_alt(notebook: Any) -> list[str]:
    found = []
    for cell in code(notebook):
        for output in cell.outputs:
            for mime in set(output.get("data", {})) & {"image/svg+xml", "image/png", "image/jpeg"}:
                metadata = output.metadata
                if not (metadata.get("alt") or metadata.get(mime, {}).get("alt")):
                    found.append(f"{mime} of:\n{cell.source}")
    return found


@each_notebook
def test_pictures_have_words(path: Path) -> None:
    assert not images_without_alt(read(path))


def test_pictures_without_words_are_found() -> None:
    data = {"image/svg+xml": "<svg/>", "text/plain": "a drawing"}
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    notebook = new_notebook(cells=[new_code_cell("draw()", outputs=[nbformat.from_dict(output)])])
    assert images_without_alt(notebook) == ["image/svg+xml of:\ndraw()"]
    notebook.cells[0].outputs[0].metadata["image/svg+xml"] = {"alt": "two boxes and an arrow"}
    assert not images_without_alt(notebook)


# --- papermill


@pytest.mark.slow
@each_notebook
def test_papermill_runs_the_lesson_within_its_limits(path: Path, measured: Callable[[Outcome], None]) -> None:
    factor = float(os.environ.get("TIME_FACTOR", "1"))
    outcome = run_notebooks.run(path, ROOT / "build", {"profile": "quick"}, **run_notebooks.limits("quick", factor))
    measured(outcome)
    assert outcome.failure is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[:1], ids=lambda path: path.stem)
def test_an_unknown_parameter_is_an_error(path: Path, tmp_path: Path) -> None:
    outcome = run_notebooks.run(path, tmp_path, {"profile": "quick", "sed": "3"})
    assert outcome.failure is not None
    assert "ValueError" in outcome.failure and "sed" in outcome.failure


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


def tool(script: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / script, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    root = tmp_path_factory.mktemp("mixed")
    course(
        root / "notebooks",
        a_ok=["x = 1", "print(x)"],
        b_fails=["x = 1", "def f():\n    raise ValueError('no such op')\nf()", "print('never')"],
        c_dies=["import os, signal", "os.kill(os.getpid(), signal.SIGKILL)"],
        d_leaves=["print(1)", "import sys; sys.exit()", "print(2)"],
        e_ok=[
            "assert profile == 'quick'",
            "import os; print(os.environ['OMP_NUM_THREADS'], os.path.basename(os.getcwd()))",
        ],
    )
    return tool("run_notebooks.py", "--folder", root / "notebooks", "--out", root / "build"), root


@pytest.mark.slow
def test_one_failure_does_not_stop_the_others(mixed: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, root = mixed
    assert done.returncode == 1
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["a_ok"].endswith(" ok") and rows["e_ok"].endswith(" ok")
    assert rows["b_fails"].endswith("code cell 2: ValueError: no such op")
    assert "code cell 2: " in rows["c_dies"] and "DeadKernelError" in rows["c_dies"] and "138" in rows["c_dies"]
    assert "code cell 2: SystemExit" in rows["d_leaves"]
    report = json.loads((root / "build" / "report.json").read_text(encoding="utf-8"))
    assert [bool(entry["failure"]) for entry in report] == [False, True, True, True, False]
    assert all(entry["seconds"] > 0.5 and 50 < entry["peak_mb"] < 1000 for entry in report)
    assert "1 notebooks" in str(read(root / "build" / "e_ok.ipynb").cells[-1].outputs)
    assert not list((root / "notebooks").glob("*.log"))


@pytest.mark.slow
def test_two_jobs_run_side_by_side_and_are_listed_in_order(tmp_path: Path) -> None:
    meet = "open({!r}, 'w').close()\nimport os, time\n"
    meet += "for _ in range(300): time.sleep(0.1 * (not os.path.exists({!r})))\nassert os.path.exists({!r})"
    a, b = meet.format("a", "b", "b"), meet.format("b", "a", "a")
    course(tmp_path / "notebooks", a=[a, "import time; time.sleep(2)"], b=[b], c=["raise ValueError('no such op')"])
    done = tool("run_notebooks.py", "--folder", tmp_path / "notebooks", "--out", tmp_path / "build", "--jobs", "2")
    assert [line.split()[0] for line in done.stdout.splitlines()[:4]] == ["notebook", "a", "b", "c"], done.stdout
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:4]] == ["ok", "ok", "op"]
    assert done.returncode == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to one process")
def test_an_interrupt_ends_the_notebooks_that_run_and_begins_no_other(tmp_path: Path) -> None:
    hang = "import os, time\nopen(f'{name}.part', 'w').write(str(os.getpid()))\nos.rename(f'{name}.part', name)\n"
    sources = {name: [f"name = {name!r}\n{hang}time.sleep(60)"] for name in "abc"}
    folder = course(tmp_path / "notebooks", **sources)
    arguments = ["--folder", folder, "--out", tmp_path / "build", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "tools" / "run_notebooks.py", *arguments], start_new_session=True
    )
    try:
        for name in "ab":
            while not (folder / name).exists():
                assert process.poll() is None
                time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
    for name in "ab":
        kernel = int((folder / name).read_text())
        assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "build" / "c.log").exists()


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--jobs", "2", "--record"]])
def test_side_by_side_is_refused_where_it_cannot_be(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_notebooks.main(["--folder", str(course(tmp_path / "notebooks", a=[])), *arguments])
    assert f"--jobs: got {arguments[1]}, allowed is" in capsys.readouterr().err


def test_only_picks_a_notebook_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    folder = course(tmp_path / "notebooks", **{"00_start": [], "01_next": [], "03_last": []})
    assert [path.stem for path in run_notebooks.notebooks(folder, "03")] == ["03_last"]
    assert len(run_notebooks.notebooks(folder)) == 3
    with pytest.raises(ValueError, match="starts with '04'"):
        run_notebooks.notebooks(folder, "04")


@pytest.mark.slow
def test_too_slow_is_stopped_with_its_children(tmp_path: Path) -> None:
    sleeper = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    path = (
        course(tmp_path / "c", slow=[f"{sleeper}\nopen('child', 'w').write(str(child.pid))", "child.wait()"])
        / "slow.ipynb"
    )
    outcome = run_notebooks.run(path, tmp_path / "out", {}, seconds=10)
    assert outcome.failure == "stopped in code cell 2: more than 10 s"
    assert 10 <= outcome.seconds < 15
    child = int((tmp_path / "c" / "child").read_text())

    def alive() -> bool:
        try:
            return psutil.Process(child).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    end = time.monotonic() + 10  # a busy machine is slow to carry out a kill; the child itself would sleep for longer
    while alive() and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive()


@pytest.mark.slow
def test_memory_of_the_kernel_and_its_children_counts(tmp_path: Path) -> None:
    child = "import time; x = bytearray(300_000_000); time.sleep(1)"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    path = course(tmp_path / "c", big=[child]) / "big.ipynb"
    outcome = run_notebooks.run(path, tmp_path / "out", {}, megabytes=300)
    assert outcome.failure is not None and re.fullmatch(r"needs \d+ MB, more than 300 MB", outcome.failure)
    assert 330 < outcome.peak_mb < 700


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is the sum of rss")
def test_memory_is_the_same_beside_others_and_counts_what_processes_share_once(tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(b"x" * 100_000_000)
    script = "import mmap, os, sys; file = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)"
    script += "; file.find(b'y'); own = b'x' * 200_000_000; child = os.fork(); child or file.find(b'y')"
    script += "; os.write(1, b'%d\\n' % child); sys.stdin.read()"
    with ExitStack() as stack:

        def start() -> list[psutil.Process]:
            pipe = subprocess.PIPE
            process = psutil.Popen([sys.executable, "-S", "-c", script, path], stdin=pipe, stdout=pipe, text=True)
            stack.callback(process.communicate)
            return [process, psutil.Process(max(int(process.stdout.readline()) for _ in range(2)))]

        family = start()
        alone = run_notebooks.memory(family)
        assert 300e6 < alone < 330e6
        start()
        assert run_notebooks.memory(family) == pytest.approx(alone, abs=1e6)


# --- what was measured, in README and lessons


def test_measurements_are_recorded_per_profile(tmp_path: Path) -> None:
    folder = course(tmp_path / "notebooks", **{"00_start": ["1"], "01_next": ["2"]})
    readme = tmp_path / "README.md"
    readme.write_text("Before\n<!-- measured:start -->old<!-- measured:end -->\nAfter\n", encoding="utf-8")
    course_table.record(
        folder, {"00_start": {"seconds": 30.0, "peak_mb": 512.3}, "01_next": {"seconds": 61, "peak_mb": 700}}, "quick"
    )
    course_table.record(folder, {"01_next": {"seconds": 600.0, "peak_mb": 900.0}}, "full")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("Before\n<!-- measured:start -->\n| lesson |") and text.endswith(
        "<!-- measured:end -->\nAfter\n"
    )
    assert "| [Lesson 00_start](notebooks/00_start.ipynb) | shows 00_start | 0.5 min, 510 MB | not measured |" in text
    assert "| shows 01_next | 1.0 min, 700 MB | 10.0 min, 900 MB | not measured |" in text
    assert "quick: 1.0 min, 700 MB; full: 10.0 min, 900 MB" in read(folder / "01_next.ipynb").cells[0].source
    measured = course_table.load(folder)
    assert set(measured["00_start"]) == {"quick"} and set(measured["01_next"]) == {"quick", "full"}
    assert all(path.read_text(encoding="utf-8") == text for path, text in course_table.render(folder, measured).items())


@pytest.mark.slow
def test_a_process_that_was_only_just_forked_is_not_counted(tmp_path: Path) -> None:
    forks = (
        "import subprocess, sys\nfor _ in range(200): subprocess.run([sys.executable, '-S', '-c', ''], close_fds=False)"
    )
    path = course(tmp_path / "c", forks=["x = bytearray(400_000_000)", forks]) / "forks.ipynb"
    outcome = run_notebooks.run(path, tmp_path / "out", {})
    assert outcome.failure is None and 450 < outcome.peak_mb < 700


def test_the_machine_is_described_without_its_name() -> None:
    assert re.fullmatch(r".+, \d+ cores, \d+ GiB", course_table.machine())
    assert os.uname().nodename not in course_table.machine() if hasattr(run_notebooks.os, "uname") else True


@pytest.mark.skipif(not NOTEBOOKS, reason="no lessons")
def test_readme_and_lessons_show_what_was_measured() -> None:
    texts = course_table.render(ROOT / "notebooks", course_table.load(ROOT / "notebooks"))
    stale = [path.name for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make run RECORD=1`"


# --- regenerating in place

WIDGET = """import ipywidgets
slider = ipywidgets.IntSlider(value=3, description='layers')
box = ipywidgets.VBox([slider])
display(box)
box"""


@pytest.mark.slow
def test_regenerating_twice_leaves_no_difference(tmp_path: Path) -> None:
    folder = course(tmp_path / "notebooks", demo=["print('a'); import sys; print('b', end='')", WIDGET, "slider"])
    path = folder / "demo.ipynb"
    before = read(path)
    before.cells[1].metadata = {
        "tags": ["keep"],
        "execution": {"iopub.execute_input": "now"},
        "papermill": {"duration": 1},
    }
    before.metadata["papermill"] = {"input_path": str(path)}
    before.metadata["language_info"] = {"name": "python", "version": "3.11.2"}
    nbformat.write(before, path)
    assert tool("regenerate.py", "--folder", folder).returncode == 0
    first = path.read_bytes()
    assert tool("regenerate.py", "--folder", folder).returncode == 0
    assert path.read_bytes() == first
    notebook = read(path)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in before.cells]
    assert notebook.cells[1].metadata == {"tags": ["keep"]}
    assert set(notebook.metadata) == {"kernelspec", "language_info", "naslab"}
    assert notebook.metadata.naslab == {"summary": "shows demo", "code": regenerate.computed_by(before)}
    assert "version" not in notebook.metadata.language_info
    shown = [
        o.data[regenerate.WIDGET]["model_id"]
        for c in code(notebook)
        for o in c.outputs
        if regenerate.WIDGET in o.get("data", {})
    ]
    assert shown == ["0" * 32, "0" * 32, "0" * 31 + "1"]
    assert notebook.cells[1].outputs[0].text == "a\nb"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no such op')", "ValueError: no such op"),
        ("import sys; print(sys.prefix)", "code cell 1: its output names"),
        ("import warnings; warnings.warn('old')", "names a file of the kernel"),
        ("import os; os._exit(3)", "Kernel died"),
    ],
)
def test_what_cannot_be_committed_is_left_as_it_was(tmp_path: Path, source: str, message: str) -> None:
    folder = course(tmp_path / "notebooks", bad=[source])
    before = (folder / "bad.ipynb").read_bytes()
    done = tool("regenerate.py", "--folder", folder)
    assert done.returncode == 1
    assert "bad.ipynb: left as it was" in done.stderr and message in done.stderr
    assert (folder / "bad.ipynb").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["bad.ipynb"]


def test_a_package_that_changes_meanwhile_leaves_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = course(tmp_path / "notebooks", a=["1"]) / "a.ipynb"
    before = path.read_bytes()
    hashes = iter(["old", "new", "same", "same"])
    monkeypatch.setattr(regenerate, "computed_by", lambda notebook: next(hashes))
    monkeypatch.setattr(regenerate, "execute", lambda notebook, folder: notebook)
    assert regenerate.regenerate(path) == ["the package has changed while it ran"]
    assert path.read_bytes() == before
    assert not regenerate.regenerate(path)
    assert read(path).metadata.naslab.code == "same"


def test_cleaning_is_idempotent_and_repairs_ids() -> None:
    notebook = new_notebook(cells=[new_code_cell("1", id="twice"), new_code_cell("2")])
    notebook.cells[1].id = "twice"
    once = regenerate.clean(notebook)
    assert [cell.id for cell in once.cells] == ["twice", "cell-001"]
    assert regenerate.clean(once) == once


# --- nbval


@pytest.mark.slow
def test_nbval_sees_every_altered_output(tmp_path: Path) -> None:
    """One lesson as committed and with an output of every kind altered: all are seen but the tagged."""
    sources = [
        "print('accuracy', 0.83)",
        "(0, 1, 2)",
        'from IPython.display import SVG\nSVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="10"/>\')',
        "import ipywidgets\nipywidgets.IntSlider(value=3)",
        "'dropped below'",
        "import time; print(time.time())",
    ]
    path = course(tmp_path / "notebooks", same=sources) / "same.ipynb"
    notebook = read(path)
    notebook.cells[-1].metadata["tags"] = ["nbval-ignore-output"]
    nbformat.write(notebook, path)
    assert not regenerate.regenerate(path)
    notebook = read(path)
    stream, result, svg, widget, dropped, tagged = code(notebook)
    stream.outputs[0].text = "accuracy 0.84\n"
    result.outputs[0].data["text/plain"] = "(0, 1, 3)"
    svg.outputs[0].data["image/svg+xml"] = svg.outputs[0].data["image/svg+xml"].replace("10", "11")
    widget.outputs[0].data["text/plain"] = "IntSlider(value=4)"
    dropped.outputs = []
    tagged.outputs[0].text = "1.0\n"
    nbformat.write(notebook, path.with_name("altered.ipynb"))

    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    flags = ["-rA", "--nbval", "--nbval-current-env", "--nbval-sanitize-with", ROOT / "tests" / "sanitize.cfg"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, "notebooks"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    verdicts = {
        cell: verdict for verdict, cell in re.findall(r"^(PASSED|FAILED) \S*?(\w+\.ipynb::Cell \d)", done.stdout, re.M)
    }
    expected = {f"same.ipynb::Cell {n}": "PASSED" for n in range(6)}
    expected |= {f"altered.ipynb::Cell {n}": "FAILED" if n < 5 else "PASSED" for n in range(6)}
    assert verdicts == expected, done.stdout
